// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the kernel frees is cleared on its way, as init_on_free=1 would do it: a slot of a
 * slab lies among slots in use, so that no checkpoint can leave out its page, and who it was of
 * is not known any more. Objects are taken where tracepoints announce that they are freed;
 * those freed in bulk are announced by none, there a probe at the function's entry stands in.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/highmem.h>
#include <linux/jump_label.h>
#include <linux/kfence.h>
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/ptrace.h>
#include <linux/slab.h>
#include <linux/tracepoint.h>

#include "compat.h"
#include "sparc.h"

/* When: 2 from the load on, 1 from the first exclusion on, 0 never. */
static unsigned int scrub = 2;

/*
 * Where struct page names the cache of a slab's page, and struct kmem_cache its flags
 * and constructor. These structures are not for modules; see learn().
 */
static struct {
	size_t cache;
	size_t flags;
	size_t ctor;
} at;

/* ------------------------------------------------------- one object */

static struct kmem_cache *cache_of(const struct page *head)
{
	return *(struct kmem_cache **)((void *)head + at.cache);
}

/*
 * How much of it is the object's, or 0 if it is not to be touched: others may still read what is
 * freed (RCU), its next user relies on what the constructor made of it, or poison is
 * written over it anyway.
 */
static size_t clearable(struct kmem_cache *cache, const void *object)
{
	slab_flags_t flags = *(slab_flags_t *)((void *)cache + at.flags);

	if (flags & (SLAB_TYPESAFE_BY_RCU | SLAB_POISON) || *(void **)((void *)cache + at.ctor))
		return 0;
	/* Guarded by marks right behind what was asked for. */
	if (flags & SLAB_RED_ZONE || is_kfence_address(object))
		return ksize(object);
	return kmem_cache_size(cache);
}

static void clear(const void *object)
{
	struct page *head;

	if (ZERO_OR_NULL_PTR(object))
		return;
	head = virt_to_head_page(object);
	/* What is no slab's are pages of its own: they come to on_page_free(). */
	if (PageSlab(head))
		memset((void *)object, 0, clearable(cache_of(head), object));
}

/* ------------------------------------------------------- where things are freed */

/* kfree and kmem_cache_free; what else they tell is not needed. */
static void on_free(void *data, unsigned long call_site, const void *object)
{
	clear(object);
}

/* Where pages are not cleared for their next user, he does not write all of them. */
static void on_page_free(void *data, struct page *page, unsigned int order)
{
	unsigned int i;

	if (PageHWPoison(page))
		return;
	for (i = 0; i < 1u << order; i++)
		clear_highpage(page + i);
}

/* kmem_cache_free_bulk(cache, count, objects), kfree_rcu() as well. */
static int on_bulk_free(struct kprobe *probe, struct pt_regs *regs)
{
	size_t count = regs_get_kernel_argument(regs, 1);
	void **objects = (void **)regs_get_kernel_argument(regs, 2);

	while (count--)
		clear(objects[count]);
	return 0;
}

static struct kprobe bulk_free = {
	.symbol_name = "kmem_cache_free_bulk",
	.pre_handler = on_bulk_free,
};

#ifdef SPARC_RCU_SHEAVES

static notrace noinline bool no_room(void)
{
	return false;
}

/*
 * Since 6.18 kfree_rcu() puts objects on lists of the slab allocator's, from which they are
 * freed unannounced. That it has no room there is nothing unusual: it then frees in bulk.
 */
static int on_rcu_sheaf(struct kprobe *probe, struct pt_regs *regs)
{
	instruction_pointer_set(regs, (unsigned long)no_room);
	return 1;
}

static struct kprobe rcu_sheaf = {
	.symbol_name = "__kfree_rcu_sheaf",
	.pre_handler = on_rcu_sheaf,
};

static struct kprobe *const kprobes[] = { &bulk_free, &rcu_sheaf };

#else

static struct kprobe *const kprobes[] = { &bulk_free };

#endif

/* ------------------------------------------------------- the allocator's structures */

/* The one place where b and c differ from a by just these bits, or -1. */
static ssize_t differing(struct kmem_cache *a, struct kmem_cache *b, struct kmem_cache *c,
			 unsigned int bits_b, unsigned int bits_c)
{
	size_t size = ksize(a), i;
	ssize_t found = -1;

	for (i = 0; i + sizeof(unsigned int) <= size; i += sizeof(unsigned int)) {
		unsigned int value = *(unsigned int *)((void *)a + i);

		if (((value ^ *(unsigned int *)((void *)b + i)) & ~SPARC_SLAB_LAYOUT) != bits_b ||
		    ((value ^ *(unsigned int *)((void *)c + i)) & ~SPARC_SLAB_LAYOUT) != bits_c)
			continue;
		if (found >= 0)
			return -1;
		found = i;
	}
	return found;
}

/* The one place in `size` bytes that has this pointer, or -1. */
static ssize_t pointing(const void *in, size_t size, const void *what)
{
	ssize_t found = -1;
	size_t i;

	for (i = 0; i + sizeof(what) <= size; i += sizeof(what)) {
		if (*(void **)(in + i) != what)
			continue;
		if (found >= 0)
			return -1;
		found = i;
	}
	return found;
}

static void constructor(void *object)
{
}

/*
 * Three caches that differ in what is looked for. None of them is merged with another, for
 * they have a constructor or are typesafe.
 */
static int compare(struct kmem_cache *plain, struct kmem_cache *typesafe,
		   struct kmem_cache *aligned)
{
	ssize_t flags, ctor, cache;
	void *object;

	flags = differing(plain, typesafe, aligned, (__force unsigned int)SLAB_TYPESAFE_BY_RCU,
			  (__force unsigned int)SLAB_HWCACHE_ALIGN);
	ctor = pointing(plain, ksize(plain), constructor);
	if (flags < 0 || ctor < 0 || *(void **)((void *)typesafe + ctor))
		return -ENODEV;
	object = kmem_cache_alloc(plain, GFP_KERNEL);
	if (!object)
		return -ENOMEM;
	cache = pointing(virt_to_head_page(object), sizeof(struct page), plain);
	kmem_cache_free(plain, object);
	if (cache < 0)
		return -ENODEV;
	at.flags = flags;
	at.ctor = ctor;
	at.cache = cache;
	return 0;
}

static int learn(void)
{
	struct kmem_cache *plain, *typesafe, *aligned;
	int error = -ENOMEM;

	plain = kmem_cache_create("sparc_plain", 64, 0, 0, constructor);
	typesafe = kmem_cache_create("sparc_typesafe", 64, 0, SLAB_TYPESAFE_BY_RCU, NULL);
	aligned = kmem_cache_create("sparc_aligned", 64, 0, SLAB_HWCACHE_ALIGN, constructor);
	if (plain && typesafe && aligned)
		error = compare(plain, typesafe, aligned);
	kmem_cache_destroy(plain);
	kmem_cache_destroy(typesafe);
	kmem_cache_destroy(aligned);
	return error;
}

/* ------------------------------------------------------- on and off */

static struct probe {
	const char *name;
	void *probe;
	struct tracepoint *point;
	bool registered;
} probes[] = {
	{ .name = "kfree", .probe = on_free },
	{ .name = "kmem_cache_free", .probe = on_free },
	{ .name = "mm_page_free", .probe = on_page_free },
};

static DEFINE_MUTEX(lock);
static bool loaded, active;
static unsigned int kprobes_registered;

static void find(struct tracepoint *point, void *data)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(probes); i++)
		if (!strcmp(point->name, probes[i].name))
			probes[i].point = point;
}

static void detach(void)
{
	size_t i;

	while (kprobes_registered)
		unregister_kprobe(kprobes[--kprobes_registered]);
	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		if (probes[i].registered)
			tracepoint_probe_unregister(probes[i].point, probes[i].probe, NULL);
		probes[i].registered = false;
	}
	tracepoint_synchronize_unregister();
	sparc_rcu_tasks_quiescent();
}

static int attach(struct probe *probe)
{
	int error = -ENOENT;

	if (probe->probe == on_page_free && static_branch_maybe(CONFIG_INIT_ON_ALLOC_DEFAULT_ON,
								&init_on_alloc))
		return 0;
	if (probe->point)
		error = tracepoint_probe_register(probe->point, probe->probe, NULL);
	probe->registered = !error;
	return error;
}

static int attach_all(void)
{
	size_t i;
	int error;

	for_each_kernel_tracepoint(find, NULL);
	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		error = attach(&probes[i]);
		if (error)
			return error;
	}
	while (kprobes_registered < ARRAY_SIZE(kprobes)) {
		/* Of one that was registered before, the address is still there. */
		kprobes[kprobes_registered]->addr = NULL;
		kprobes[kprobes_registered]->flags = 0;
		error = register_kprobe(kprobes[kprobes_registered]);
		if (error)
			return error;
		kprobes_registered++;
	}
	return 0;
}

static int start(void)
{
	int error;

	if (static_branch_maybe(CONFIG_INIT_ON_FREE_DEFAULT_ON, &init_on_free))
		return 0;
	error = learn();
	if (!error)
		error = attach_all();
	if (error) {
		detach();
		pr_err("what is freed cannot be cleared on this kernel: %d; boot it with init_on_free=1\n",
		       error);
	}
	return error;
}

static void stop(void)
{
	if (active)
		detach();
	active = false;
}

/* At the load, and before something is excluded. What was freed before is as it is. */
int sparc_scrub_start(bool excluding)
{
	int error = 0;

	mutex_lock(&lock);
	loaded = true;
	if (!active && scrub >= (excluding ? 1 : 2)) {
		error = start();
		active = !error;
	}
	mutex_unlock(&lock);
	return error;
}

/* Whether what is left of those not excluded is to be cleared as well. */
bool sparc_scrub_everybody(void)
{
	return scrub >= 2;
}

void sparc_scrub_stop(void)
{
	mutex_lock(&lock);
	stop();
	loaded = false;
	mutex_unlock(&lock);
}

/* 1 goes on with it if it has begun. */
static int set(const char *text, const struct kernel_param *param)
{
	unsigned int when;
	int error = kstrtouint(text, 0, &when);

	if (error || when > 2)
		return error ? error : -EINVAL;
	mutex_lock(&lock);
	if (loaded && !when)
		stop();
	if (loaded && when == 2 && !active) {
		error = start();
		active = !error;
	}
	if (!error)
		scrub = when;
	mutex_unlock(&lock);
	return error;
}

static const struct kernel_param_ops operations = { .set = set, .get = param_get_uint };
module_param_cb(scrub, &operations, &scrub, 0644);
MODULE_PARM_DESC(scrub, "clear what is freed: 2 always, 1 from the first exclusion on, 0 never");
