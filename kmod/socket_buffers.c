// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Socket buffers: what stands in them, and what was left in the pages that they share. A
 * page from which one task sends is filled piece by piece, for whatever sockets: what was
 * received stays in it until the page is full and its last piece is let go. So the pieces of
 * all sockets are noted, the outsiders' too. Where these are all that refer to a page, everything
 * in it but the outsiders' pieces is nobody's, and kept out.
 */
#include <linux/mm.h>
#include <linux/skbuff.h>
#include <linux/sort.h>

#include "sockets.h"

#define LEAST_PIECES	1024u
#define MOST_PIECES	(4u * 1024 * 1024)
#define MAX_NESTED	4

/* One reference to a page. length 0: that of the one who fills it. */
struct piece {
	struct page *page;	/* the first one, of a compound page */
	u32 offset;
	u32 length;
	bool outsiders;
	bool pooled;		/* references do not tell how many use the page */
};

static struct piece *pieces;
static u32 pieces_used, pieces_size;

int sparc_buffers_begin(void)
{
	u32 size = pieces_size;

	if (size && pieces_used <= size)
		return 0;
	while (size < pieces_used || size < LEAST_PIECES)
		size = size ? 2 * size : LEAST_PIECES;
	if (size > MOST_PIECES)
		return -ENOMEM;
	kvfree(pieces);
	pieces = kvmalloc_array(size, sizeof(*pieces), GFP_KERNEL);
	pieces_size = pieces ? size : 0;
	return pieces ? 0 : -ENOMEM;
}

void sparc_buffers_end(void)
{
	kvfree(pieces);
	pieces = NULL;
	pieces_size = 0;
	pieces_used = 0;
}

void sparc_buffers_clear(void)
{
	pieces_used = 0;
}

/* Counts on where there is no room, for the next try. */
static void note(struct page *page, u32 offset, u32 length, bool outsiders, bool pooled)
{
	struct page *head = compound_head(page);

	if (pieces_used < pieces_size)
		pieces[pieces_used] = (struct piece) {
			.page = head,
			.offset = offset + ((page - head) << PAGE_SHIFT),
			.length = length,
			.outsiders = outsiders,
			.pooled = pooled,
		};
	pieces_used++;
}

int sparc_buffer_holder(struct page_frag *frag)
{
	if (frag->page)
		note(frag->page, 0, 0, false, false);
	return 0;
}

/* Memory with something at its end that is no data: whatever is with it is seen to elsewhere. */
void sparc_buffer_fixed(struct page *page, u32 offset, u32 length)
{
	note(page, offset, length, true, false);
}

/* ------------------------------------------------------------- one buffer */

static int contents(struct sparc_collection *collection, struct sk_buff *skb, bool outsiders,
		    int nested)
{
	struct skb_shared_info *shared = skb_shinfo(skb);
	struct sk_buff *next;
	int error, i;

	/* Clones have it in common. */
	error = sparc_object(collection, shared, NULL);
	if (error <= 0)
		return error;
	if (!outsiders) {
		error = sparc_extent(collection->manifest, skb->head, skb_end_offset(skb),
				     SPARC_KIND_SOCKET);
		if (error < 0)
			return error;
	}
	if (skb->head_frag)
		sparc_buffer_fixed(virt_to_page(skb->head), offset_in_page(skb->head),
				   skb_end_offset(skb) + SKB_DATA_ALIGN(sizeof(*shared)));
	for (i = 0; i < shared->nr_frags; i++) {
		skb_frag_t *frag = &shared->frags[i];
		struct page *page = skb_frag_page(frag);

		if (page)
			note(page, skb_frag_off(frag), skb_frag_size(frag), outsiders,
			     skb->pp_recycle);
	}
	if (shared->frag_list && nested == MAX_NESTED)
		return sparc_collect_blame(collection, SPARC_REASON_BUSY, NULL);
	skb_walk_frags(skb, next) {
		error = contents(collection, next, outsiders, nested + 1);
		if (error < 0)
			return error;
	}
	return 0;
}

/* Keep out what stands in it. 1: it was not met before; 0: it was. */
int sparc_buffer_take(struct sparc_collection *collection, struct sk_buff *skb)
{
	int error = sparc_object(collection, skb, NULL);

	if (error <= 0)
		return error;
	error = contents(collection, skb, false, 0);
	return error < 0 ? error : 1;
}

/* An outsider's: only note which pieces of pages are its. After all have been taken. */
int sparc_buffer_pass(struct sparc_collection *collection, struct sk_buff *skb)
{
	return contents(collection, skb, true, 0);
}

/* -------------------------------------------------------- pages in common */

static int by_page(const void *a, const void *b)
{
	const struct piece *x = a;
	const struct piece *y = b;

	if (x->page != y->page)
		return x->page < y->page ? -1 : 1;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int keep_out(struct sparc_collection *collection, struct page *head, u32 from, u32 to)
{
	while (from < to) {
		u32 end = min_t(u32, to, (from | (PAGE_SIZE - 1)) + 1);
		struct page *page = head + (from >> PAGE_SHIFT);
		int error;

		if (end - from == PAGE_SIZE)
			error = sparc_pages(collection, page_to_pfn(page), 1, SPARC_KIND_SOCKET);
		else
			error = sparc_part(collection, page, offset_in_page(from), end - from,
					   SPARC_KIND_SOCKET);
		if (error < 0)
			return error;
		from = end;
	}
	return 0;
}

/* The whole page but the outsiders' pieces. */
static int all_but_outsiders(struct sparc_collection *collection, struct piece *first, u32 count)
{
	u32 from = 0, i;
	int error = 0;

	for (i = 0; i < count && !error; i++) {
		if (!first[i].outsiders)
			continue;
		if (from < first[i].offset)
			error = keep_out(collection, first->page, from, first[i].offset);
		from = max(from, first[i].offset + first[i].length);
	}
	return error ?: keep_out(collection, first->page, from, page_size(first->page));
}

/* Memory of a process or of a file has others to see to it. */
static bool is_a_buffers(struct page *page)
{
	struct folio *folio = page_folio(page);

	return !folio->mapping && !folio_mapped(folio) && !PageReserved(page) && !PageSlab(page);
}

static int one_page(struct sparc_collection *collection, struct piece *first, u32 count)
{
	bool pooled = false, beyond = false;
	int error = 0;
	u32 i;

	for (i = 0; i < count; i++) {
		pooled |= first[i].pooled;
		/* Others follow it: then it does not tell who has those. */
		beyond |= (u64)first[i].offset + first[i].length > page_size(first->page);
	}
	if (!pooled && !beyond && page_ref_count(first->page) == count)
		return all_but_outsiders(collection, first, count);
	if (!is_a_buffers(first->page))
		return 0;
	for (i = 0; i < count && !error; i++)
		if (!first[i].outsiders)
			error = keep_out(collection, first->page, first[i].offset,
					 first[i].offset + first[i].length);
	return error;
}

int sparc_buffers_finish(struct sparc_collection *collection)
{
	u32 i, end;
	int error = 0;

	if (pieces_used > pieces_size)
		return sparc_collect_blame(collection, SPARC_REASON_NO_ROOM, NULL);
	sort(pieces, pieces_used, sizeof(*pieces), by_page, NULL);
	for (i = 0; i < pieces_used && !error; i = end) {
		for (end = i + 1; end < pieces_used && pieces[end].page == pieces[i].page; end++)
			;
		error = one_page(collection, &pieces[i], end - i);
	}
	return error;
}
