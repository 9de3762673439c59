// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Buffers of many sizes that belong to the process that loads this module, each between
 * bytes that are not its: keys of its session, whose contents lie in the slabs for their size or
 * in pages of their own. Before and after each lies an object of the same size.
 *
 * Where everything is stands in a table, for whoever looks at the machine's memory from outside.
 */
#include <linux/cred.h>
#include <linux/io.h>
#include <linux/key-type.h>
#include <linux/key.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <keys/user-type.h>

#define GUARD	0xc5
#define BUFFER	0x3a

struct place {
	u64 gpa;
	u32 length;
	u32 is_buffer;	/* else nothing may touch it */
};

static const unsigned int sizes[] = {
	1, 2, 7, 8, 9, 31, 33, 40, 41, 72, 100, 104, 105, 168, 232, 233, 488, 1000, 1001, 2024,
	4072, 4073, 8168, 8169, 20000, 32767,
};

static struct place places[6 * ARRAY_SIZE(sizes)];
static void *guards[2 * ARRAY_SIZE(sizes)];
static struct key *keys[ARRAY_SIZE(sizes)];

static unsigned long table;
module_param(table, ulong, 0444);
MODULE_PARM_DESC(table, "physical address of struct place[]");
static unsigned int count;
module_param(count, uint, 0444);
MODULE_PARM_DESC(count, "of its entries");

static void note(void *address, size_t length, bool is_buffer)
{
	if (!length)
		return;
	places[count].gpa = virt_to_phys(address);
	places[count].length = length;
	places[count].is_buffer = is_buffer;
	count++;
}

static int make_guard(unsigned int i, size_t length)
{
	guards[i] = kmalloc(length, GFP_KERNEL);
	if (!guards[i])
		return -ENOMEM;
	memset(guards[i], GUARD, length);
	note(guards[i], length, false);
	return 0;
}

static int make_key(unsigned int i, const void *data)
{
	const struct cred *cred = current_cred();
	struct user_key_payload *payload;
	struct key *key;
	char name[16];
	size_t used, size;
	int error;

	snprintf(name, sizeof(name), "canary %u", i);
	key = key_alloc(&key_type_user, name, cred->fsuid, cred->fsgid, cred, KEY_POS_ALL,
			KEY_ALLOC_NOT_IN_QUOTA, NULL);
	if (IS_ERR(key))
		return PTR_ERR(key);
	keys[i] = key;
	error = key_instantiate_and_link(key, data, sizes[i], cred->session_keyring, NULL);
	if (error)
		return error;
	payload = rcu_dereference_raw(key->payload.rcu_data0);
	used = offsetof(struct user_key_payload, data) + sizes[i];
	size = ksize(payload);
	/* What the slot has beyond is nobody's. */
	memset((void *)payload + used, GUARD, size - used);
	note(payload, used - sizes[i], false);
	note(payload->data, sizes[i], true);
	note((void *)payload + used, size - used, false);
	return 0;
}

static int make(unsigned int i, const void *data)
{
	size_t size = offsetof(struct user_key_payload, data) + sizes[i];
	int error = make_guard(2 * i, size);

	if (!error)
		error = make_key(i, data);
	return error ? error : make_guard(2 * i + 1, size);
}

static void remove_all(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(keys); i++)
		key_put(keys[i]);
	for (i = 0; i < ARRAY_SIZE(guards); i++)
		kfree(guards[i]);
}

/* The table is copied: modules lie in memory of which only their code knows the address. */
static struct place *copy;

static int __init canary_init(void)
{
	void *data = kmalloc(32768, GFP_KERNEL);
	unsigned int i;
	int error = 0;

	if (!data || !current_cred()->session_keyring) {
		kfree(data);
		return -EINVAL;
	}
	memset(data, BUFFER, 32768);
	for (i = 0; i < ARRAY_SIZE(sizes) && !error; i++)
		error = make(i, data);
	kfree(data);
	if (!error) {
		copy = kmemdup(places, sizeof(places), GFP_KERNEL);
		table = copy ? virt_to_phys(copy) : 0;
		error = copy ? 0 : -ENOMEM;
	}
	if (error)
		remove_all();
	return error;
}

static void __exit canary_exit(void)
{
	remove_all();
	kfree(copy);
}

module_init(canary_init);
module_exit(canary_exit);

MODULE_DESCRIPTION("Buffers of one process among bytes that are not its");
MODULE_LICENSE("GPL");
