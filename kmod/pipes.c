// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pipes and FIFOs: what waits in them, whoever wrote it, and the pages that a pipe
 * keeps for the next write. In a restored machine what waited is gone.
 */
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/pipe_fs_i.h>

#include "compat.h"
#include "sparc.h"

/* Its own page, whole: what was read of it already is still there. */
static int own_page(struct sparc_collection *collection, struct page *page)
{
	return page ? sparc_pages(collection, page_to_pfn(page), 1, SPARC_KIND_PIPE) : 0;
}

/* A page may have come by splice() from a file, a socket or a process: only the part is its. */
static int buffer(struct sparc_collection *collection, struct pipe_buffer *buffer)
{
	if (page_ref_count(buffer->page) == 1)
		return own_page(collection, buffer->page);
	return sparc_part(collection, buffer->page, buffer->offset, buffer->len, SPARC_KIND_PIPE);
}

/* Left empty, the buffers are skipped by the next reader, who releases their pages. */
static void empty(void *object)
{
	struct pipe_inode_info *pipe = object;
	unsigned int at;

	for (at = pipe->tail; at != pipe->head; at++)
		pipe->bufs[at & (pipe->ring_size - 1)].len = 0;
}

static const struct sparc_remedy remedy = { .stopped = empty };

int sparc_pipe(struct sparc_collection *collection, struct file *file)
{
	struct pipe_inode_info *pipe = file_inode(file)->i_pipe;
	unsigned int at;
	int error, i;

	error = pipe ? sparc_object(collection, pipe, &remedy) : 0;
	if (error <= 0)
		return error;
	if (mutex_is_locked(&pipe->mutex))
		return sparc_collect_blame(collection, SPARC_REASON_BUSY, NULL);
	for (at = pipe->tail; at != pipe->head; at++) {
		error = buffer(collection, &pipe->bufs[at & (pipe->ring_size - 1)]);
		if (error < 0)
			return error;
	}
	for (i = 0; i < SPARC_PIPE_SPARES; i++) {
		error = own_page(collection, sparc_pipe_spare(pipe, i));
		if (error < 0)
			return error;
	}
	return 0;
}
