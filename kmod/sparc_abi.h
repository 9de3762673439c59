/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of sparc tell each other: the wire between guest and host (a
 * mailbox page and a manifest in guest RAM), and the ioctls of /dev/sparc.
 *
 * Little endian, x86-64. Every structure is laid out without padding, the same
 * in the kernel, in the extension pack and in Python (sparc/abi.py).
 */
#ifndef SPARC_ABI_H
#define SPARC_ABI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define SPARC_ABI_VERSION	2
#define SPARC_PAGE_SIZE		4096
#define SPARC_COMM_LEN		16

/* ------------------------------------------------------------- the mailbox */

/*
 * One page below 16 MB of guest RAM. The host finds it by its identity: magic,
 * the page's own guest-physical address, and the CRC-32 (IEEE 802.3, as zlib's)
 * of the identity up to the field crc.
 */
#define SPARC_MAGIC		"\x7fsparc mailbox\n"	/* 15 bytes and a NUL */
#define SPARC_MAILBOX_LIMIT	0x1000000ULL

struct sparc_identity {
	__u8 magic[16];
	__u32 abi;		/* SPARC_ABI_VERSION */
	__u32 size;		/* of the mailbox in bytes: SPARC_PAGE_SIZE */
	__u64 gpa;		/* of this page */
	__u64 instance;		/* random, another one for each load of the module */
	__u32 reserved;		/* 0 */
	__u32 crc;
};

/* Requests and states are one aligned 64-bit word, so that none is seen torn. */
#define SPARC_WORD(sequence, what)	((__u64)(sequence) << 32 | (__u32)(what))
#define SPARC_WORD_SEQUENCE(word)	((__u32)((__u64)(word) >> 32))
#define SPARC_WORD_WHAT(word)		((__u32)(word))

/* Host to guest. */
enum sparc_request {
	SPARC_REQUEST_NONE = 0,
	SPARC_REQUEST_PREPARE = 1,	/* park; sequence: the last one + 1 */
	SPARC_REQUEST_RESUMED = 2,	/* the guest runs again: let go */
	SPARC_REQUEST_ABANDON = 3,	/* nobody waits for this sequence any more */
};

/* Guest to host. */
enum sparc_state {
	SPARC_STATE_IDLE = 0,
	SPARC_STATE_PREPARING = 1,
	SPARC_STATE_PARKED = 2,		/* the manifest is valid while this stands */
	SPARC_STATE_FAILED = 3,		/* see reason */
};

/* Why a guest did not park, or let go of itself. */
enum sparc_reason {
	SPARC_REASON_NONE = 0,
	SPARC_REASON_NO_SERVICE = 1,	/* nobody has /dev/sparc open */
	SPARC_REASON_FREEZE = 2,	/* process reason_pid could not be frozen */
	SPARC_REASON_BUSY = 3,		/* its memory stayed in motion: reason_pid, or 0 */
	SPARC_REASON_NO_ROOM = 4,	/* the manifest is too small */
	SPARC_REASON_NO_MEMORY = 5,	/* a child or a page could not be noted */
	SPARC_REASON_SWAP = 6,		/* process reason_pid has memory in swap */
	SPARC_REASON_LOST = 7,		/* parked, and the host never answered */
	SPARC_REASON_ABANDONED = 8,	/* the host gave up */
	SPARC_REASON_SERVICE = 9,	/* the service failed; its log says more */
	SPARC_REASON_WRITE_BACK = 10,	/* a disk did not take their files in time */
};

/* Classes of excluded data, as in the README's coverage table. */
enum sparc_kind {
	SPARC_KIND_OTHER = 0,
	SPARC_KIND_ANON = 1,
	SPARC_KIND_FILE = 2,
	SPARC_KIND_SHMEM = 3,
	SPARC_KIND_PIPE = 4,
	SPARC_KIND_SOCKET = 5,
	SPARC_KIND_TTY = 6,
	SPARC_KIND_CONSOLE = 7,
	SPARC_KIND_REGISTERS = 8,
	SPARC_KIND_FREE = 9,
	SPARC_KIND_DISPLAY = 10,
	SPARC_KIND_SWAP_CACHE = 11,
	SPARC_KINDS = 16,
};

struct sparc_status {
	__u64 word;		/* SPARC_WORD(sequence, enum sparc_state) */
	__u32 reason;		/* enum sparc_reason, for FAILED */
	__s32 reason_pid;	/* in the initial pid namespace; 0: nobody in particular */
	char reason_comm[SPARC_COMM_LEN];
	__u32 armed;		/* 1: something is or was excluded since the load */
	__u32 members;		/* thread groups excluded now */
	__u64 heartbeat;	/* grows with each look at the request, while armed */
};

/*
 * The manifest: a run of bytes cut into pages that may lie anywhere. The
 * mailbox names directory pages, each of which holds 512 guest-physical
 * addresses of the run's pages in order. In it, each part beginning on a page:
 *
 *	DROP bitmap	bit n%8 of byte n/8 is page frame n: free memory, to be
 *			zeroed and not put back
 *	STASH bitmap	zeroed for the save and put back after it
 *	extents		struct sparc_extent[]; like STASH, for parts of pages
 *	processes	struct sparc_process[]: the set, one for each thread group
 *
 * No page frame is in both bitmaps; no extent lies in a page of either, and none
 * crosses a page's end. The canary's page is in STASH: where it reads as
 * zeros, the guest knows that it was restored.
 */
#define SPARC_DIRECTORY_ENTRIES	(SPARC_PAGE_SIZE / 8)
#define SPARC_DIRECTORIES	320
#define SPARC_ALIGN(bytes)	\
	(((__u64)(bytes) + SPARC_PAGE_SIZE - 1) & ~(__u64)(SPARC_PAGE_SIZE - 1))
#define SPARC_BITMAP_BYTES(pages)	SPARC_ALIGN(((__u64)(pages) + 7) / 8)

struct sparc_extent {
	__u64 gpa;
	__u32 length;		/* bytes, 1 to 4096 */
	__u32 kind;		/* enum sparc_kind */
};

#define SPARC_PROCESS_EXITING	1u	/* it ended; its memory is still being taken down */
#define SPARC_PROCESS_MEMORY_ONLY	2u	/* what it left in the kernel is not kept out */
#define SPARC_PROCESS_DISPLAY	4u	/* the screen is kept out for its sake */

struct sparc_process {
	__s32 pid;		/* thread group, in the initial pid namespace */
	__u32 flags;
	char comm[SPARC_COMM_LEN];
};

/* What of the screen is to be blanked: the host has it, and knows where. */
enum sparc_display {
	SPARC_DISPLAY_KEEP = 0,
	SPARC_DISPLAY_TEXT = 1,		/* VGA text mode: what is written, but not the fonts */
	SPARC_DISPLAY_ALL = 2,		/* all video memory */
};

struct sparc_manifest {
	__u32 sequence;		/* that of the PREPARE it answers */
	__u32 run_crc;		/* CRC-32 of the run's first run_bytes bytes */
	__u64 run_bytes;	/* up to the end of the last process */
	__u64 ram_pages;	/* bits in each bitmap: highest page frame + 1 */
	__u64 drop_pages;	/* bits set */
	__u64 stash_pages;	/* bits set */
	__u64 canary_gpa;
	__u32 extents;
	__u32 processes;
	__u32 display;		/* enum sparc_display */
	__u32 directories;	/* entries used of the mailbox's directory */
	__u64 kind_pages[SPARC_KINDS];	/* pages of both bitmaps by kind */
	__u64 kind_bytes[SPARC_KINDS];	/* bytes of extents by kind */
	__u32 reserved2;	/* 0 */
	__u32 crc;		/* CRC-32 of this up to here, then of the used directory */
};

struct sparc_mailbox {
	struct sparc_identity identity;		/* at 0 */
	__u8 gap0[128 - sizeof(struct sparc_identity)];
	struct sparc_status status;		/* at 128: the guest writes */
	__u8 gap1[128 - sizeof(struct sparc_status)];
	__u64 request;				/* at 256: the host writes, SPARC_WORD() */
	__u8 gap2[128 - sizeof(__u64)];
	struct sparc_manifest manifest;		/* at 384 */
	__u8 gap3[SPARC_PAGE_SIZE - 8 * SPARC_DIRECTORIES - 384 - sizeof(struct sparc_manifest)];
	__u64 directory[SPARC_DIRECTORIES];	/* to the page's end */
};

/* ------------------------------------------------------------- /dev/sparc */

/* Include in the list, exclude, undo: the process and all its descendants that live now. */
#define SPARC_WITH_DESCENDANTS	1u
/* Exclude: keep out the memory of processes, and nothing that they left in the kernel. */
#define SPARC_MEMORY_ONLY	2u
/* Exclude: and the screen, whatever is on it, as long as one of these processes lives. */
#define SPARC_WITH_DISPLAY	4u

struct sparc_target {
	__s32 pid;		/* in the caller's pid namespace */
	__u32 flags;
	/* Out, summed up over all that this call took in or let out: */
	__u32 processes;	/* thread groups */
	__u32 sharers;		/* of them, those taken along because they share memory */
	__u64 swap_pages;	/* of them now in swap */
	__u64 shmem_pages;	/* shared memory that they map now */
};

struct sparc_list {
	__u64 buffer;		/* user address of struct sparc_process[capacity] */
	__u32 capacity;
	__u32 count;		/* out: how many there are, even if more than capacity */
};

/* How a park ended. */
enum sparc_outcome {
	SPARC_OUTCOME_RESUMED = 1,	/* in the machine that was parked */
	SPARC_OUTCOME_RESTORED = 2,	/* in one made from its checkpoint: the set was killed */
	SPARC_OUTCOME_LOST = 3,		/* the host never answered; as after a resume */
	SPARC_OUTCOME_FAILED = 4,	/* it did not park: see reason */
};

struct sparc_park {
	__u32 sequence;		/* in: of the event */
	__u32 outcome;		/* out from here on: enum sparc_outcome */
	__u32 reason;
	__s32 reason_pid;
	char reason_comm[SPARC_COMM_LEN];
	__u64 turns;		/* spun while parked */
	__u64 collect_ns;	/* the count took, in the guest's time */
	__u32 retries;
	__u32 killed;		/* thread groups; each is also an event */
};

struct sparc_fail {
	__u32 sequence;
	__u32 reason;		/* SPARC_REASON_FREEZE, _SERVICE or _SWAP */
	__s32 pid;
	__u32 reserved;
};

struct sparc_collect {
	struct sparc_manifest manifest;	/* out; the run itself is mmap()ed from offset 0 */
	__u64 run_capacity;		/* out: bytes that can be mapped */
	__u64 collect_ns;
	__u32 retries;
	__u32 reason;			/* SPARC_REASON_NONE, or why there is no manifest */
	__s32 reason_pid;
	__u32 reserved;
};

enum sparc_event_type {
	SPARC_EVENT_PREPARE = 1,	/* freeze, then SPARC_IOC_PARK with this sequence */
	SPARC_EVENT_ABANDONED = 2,	/* forget that sequence */
	SPARC_EVENT_KILLED = 3,		/* after a restore: pid, comm */
};

struct sparc_event {
	__u32 type;
	__u32 sequence;
	__s32 pid;
	__u32 reserved;
	char comm[SPARC_COMM_LEN];
};

#define SPARC_IOC		0xb7
#define SPARC_IOC_VERSION	_IOR(SPARC_IOC, 0, __u32)
#define SPARC_IOC_EXCLUDE	_IOWR(SPARC_IOC, 1, struct sparc_target)
#define SPARC_IOC_INCLUDE	_IOWR(SPARC_IOC, 2, struct sparc_target)
#define SPARC_IOC_LIST		_IOWR(SPARC_IOC, 3, struct sparc_list)
#define SPARC_IOC_COLLECT	_IOR(SPARC_IOC, 4, struct sparc_collect)
#define SPARC_IOC_PARK		_IOWR(SPARC_IOC, 5, struct sparc_park)
#define SPARC_IOC_FAIL		_IOW(SPARC_IOC, 6, struct sparc_fail)
/*
 * Hand over a cgroup.freeze file, open for writing, before freezing with it: the
 * module writes 0 to it if the service dies. THAWED forgets all of them.
 */
#define SPARC_IOC_FREEZES	_IOW(SPARC_IOC, 7, __s32)
#define SPARC_IOC_THAWED	_IO(SPARC_IOC, 8)
/* A file, open, that stays in checkpoints although excluded processes use it; by its inode. */
#define SPARC_IOC_KEEP_FILE	_IOW(SPARC_IOC, 9, __s32)

#endif /* SPARC_ABI_H */
