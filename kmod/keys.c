// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Keys that a process possesses: through its thread's, its own and its session's key
 * ring, but not those of its user, whose they are. In a restored machine such a key is revoked:
 * others of the session may still have it.
 */
#include <linux/assoc_array_priv.h>
#include <linux/cred.h>
#include <linux/key-type.h>
#include <linux/key.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <keys/user-type.h>

#include "sparc.h"

#ifdef CONFIG_KEYS

/* A key ring marks its links to other key rings so. */
#define KEYRING_LINK	2ul

static void hold(void *object)
{
	key_get(object);
}

static void revoke(void *object)
{
	key_revoke(object);
	key_put(object);
}

static const struct sparc_remedy remedy = { .stopped = hold, .mend = revoke };

/* What is kept of a key in plain: the types whose contents programs give as they are. */
static int contents(struct sparc_collection *collection, struct key *key)
{
	struct user_key_payload *payload = rcu_dereference_raw(key->payload.rcu_data0);
	int error;

	if (key->type != &key_type_user && key->type != &key_type_logon)
		return 0;
	if (!payload || READ_ONCE(key->state) != KEY_IS_POSITIVE)
		return 0;
	error = sparc_object(collection, key, &remedy);
	if (error <= 0)
		return error;
	return sparc_extent(collection->manifest, payload->data, payload->datalen,
			    SPARC_KIND_OTHER);
}

static bool of_user(struct key *ring)
{
	return ring->description && !strncmp(ring->description, "_uid", 4);
}

static struct assoc_array_node *node_at(struct assoc_array_ptr *at)
{
	if (assoc_array_ptr_is_shortcut(at))
		at = assoc_array_ptr_to_shortcut(at)->next_node;
	return assoc_array_ptr_to_node(at);
}

/* Up from a node to the slot behind the one it hangs in, or NULL from the topmost. */
static struct assoc_array_node *above(struct assoc_array_node *node, int *slot)
{
	struct assoc_array_ptr *parent = node->back_pointer;

	*slot = node->parent_slot + 1;
	if (parent && assoc_array_ptr_is_shortcut(parent)) {
		struct assoc_array_shortcut *shortcut = assoc_array_ptr_to_shortcut(parent);

		*slot = shortcut->parent_slot + 1;
		parent = shortcut->back_pointer;
	}
	return parent ? assoc_array_ptr_to_node(parent) : NULL;
}

static int ring(struct sparc_collection *collection, struct key *key, int depth);

static int leaf(struct sparc_collection *collection, struct assoc_array_ptr *at, int depth)
{
	struct key *key = (void *)((unsigned long)assoc_array_ptr_to_leaf(at) & ~KEYRING_LINK);

	return key->type == &key_type_keyring ? ring(collection, key, depth + 1) :
						contents(collection, key);
}

/* The kernel's own searches go no deeper either. */
#define DEEPEST 6

/* The ring's sleeping lock may be held: its readers do without it, and so do we. */
static int ring(struct sparc_collection *collection, struct key *key, int depth)
{
	struct assoc_array_node *node;
	int error, slot = 0;

	if (!key || !key->keys.root || depth > DEEPEST || of_user(key))
		return 0;
	error = sparc_object(collection, key, NULL);
	if (error <= 0)
		return error;
	node = assoc_array_ptr_is_meta(key->keys.root) ? node_at(key->keys.root) : NULL;
	if (!node)
		return leaf(collection, key->keys.root, depth);
	while (node) {
		struct assoc_array_ptr *at;

		if (slot >= ASSOC_ARRAY_FAN_OUT) {
			node = above(node, &slot);
			continue;
		}
		at = READ_ONCE(node->slots[slot++]);
		if (at && assoc_array_ptr_is_meta(at)) {
			node = node_at(at);
			slot = 0;
		} else if (at) {
			error = leaf(collection, at, depth);
			if (error < 0)
				return error;
		}
	}
	return 0;
}

int sparc_keys(struct sparc_collection *collection, struct task_struct *task)
{
	const struct cred *cred = rcu_dereference_raw(task->real_cred);
	int error = ring(collection, cred->thread_keyring, 0);

	if (error >= 0)
		error = ring(collection, cred->process_keyring, 0);
	if (error >= 0)
		error = ring(collection, cred->session_keyring, 0);
	return min(error, 0);
}

#else

int sparc_keys(struct sparc_collection *collection, struct task_struct *task)
{
	return 0;
}

#endif
