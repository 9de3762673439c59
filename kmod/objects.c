// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The kernel's objects that a count has met: each is looked at once, however many ways
 * lead to it. In a restored machine their contents are zeros: what has to be
 * done about that is noted with them, in two steps. The first is taken before anything
 * else runs, where nothing may sleep, and takes hold of the object; the second, with all
 * processes but the service still frozen, mends it and lets it go.
 */
#include <linux/hash.h>
#include <linux/mm.h>

#include "sparc.h"

#define LEAST_OBJECTS	4096u
#define MOST_OBJECTS	0x400000u

/* Room for at least twice as many as were met the last time. */
int sparc_objects_begin(struct sparc_collection *collection)
{
	u32 size = collection->objects_size;

	if (size && !collection->objects_short)
		return 0;
	if (size >= MOST_OBJECTS)
		return -ENOMEM;
	size = size ? 2 * size : LEAST_OBJECTS;
	kvfree(collection->objects);
	collection->objects = kvmalloc_array(size, sizeof(*collection->objects), GFP_KERNEL);
	collection->objects_size = collection->objects ? size : 0;
	collection->objects_short = false;
	return collection->objects ? 0 : -ENOMEM;
}

void sparc_objects_end(struct sparc_collection *collection)
{
	kvfree(collection->objects);
	collection->objects = NULL;
	collection->objects_size = 0;
}

void sparc_objects_clear(struct sparc_collection *collection)
{
	collection->objects_used = 0;
	memset(collection->objects, 0, collection->objects_size * sizeof(*collection->objects));
}

/* Was it met in this count? */
bool sparc_object_met(struct sparc_collection *collection, void *object)
{
	u32 mask = collection->objects_size - 1;
	u32 at = hash_ptr(object, 32) & mask;

	for (; collection->objects[at].object; at = (at + 1) & mask)
		if (collection->objects[at].object == object)
			return true;
	return false;
}

/*
 * 1: it was not met before; 0: it was; -EAGAIN: try again with more room. remedy: what is
 * to be done in a restored machine, or NULL.
 */
int sparc_object(struct sparc_collection *collection, void *object,
		 const struct sparc_remedy *remedy)
{
	u32 mask = collection->objects_size - 1;
	u32 at = hash_ptr(object, 32) & mask;

	for (; collection->objects[at].object; at = (at + 1) & mask)
		if (collection->objects[at].object == object)
			return 0;
	if (2 * collection->objects_used >= collection->objects_size) {
		collection->objects_short = true;
		return sparc_collect_blame(collection, SPARC_REASON_NO_ROOM, NULL);
	}
	collection->objects[at].object = object;
	collection->objects[at].remedy = remedy;
	collection->objects_used++;
	return 1;
}

/* In a restored machine, all CPUs stopped. */
void sparc_objects_stopped(struct sparc_collection *collection)
{
	u32 i;

	for (i = 0; i < collection->objects_size; i++) {
		struct sparc_object *object = &collection->objects[i];

		if (object->remedy)
			object->remedy->stopped(object->object);
	}
}

/* After that, in the service. */
void sparc_objects_mend(struct sparc_collection *collection)
{
	u32 i;

	for (i = 0; i < collection->objects_size; i++) {
		struct sparc_object *object = &collection->objects[i];

		if (object->remedy && object->remedy->mend)
			object->remedy->mend(object->object);
	}
}
