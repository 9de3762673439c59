/*
 * Follows saves of VirtualBox's VMs from outside, in the kernel: counts pages as they are written,
 * and tells user space of a save's steps. Needs what SSM and PGM write, and in which order; see
 * src/VBox/VMM/VMMR3/{SSM,PGMSavedState}.cpp of VirtualBox 7.1, and sparc/sav/c_pgm.py.
 *
 * With WITNESS each page of RAM that is written with content is noted.
 */
#include <uapi/linux/ptrace.h>

#define KINDS 9
#define PAGE 4096
#define RECORD_END 0xff
#define RECORD_ADDRESS 0x80

/* As the same words in steps.py. */
enum step {
	STEP_SUSPEND,
	STEP_SUSPENDED,
	STEP_SAVE,
	STEP_TELEPORT,
	STEP_HEADER,
	STEP_UNIT,
	STEP_END,
	STEP_FOOTER,
	STEP_SAVED,
	STEP_RESUME,
	STEP_RESUMED,
};

/* Where in the unit of PGM a byte that is put stands. */
enum place {
	PLACE_ELSEWHERE,
	PLACE_SIZES,
	PLACE_RANGE,
	PLACE_REGION,
	PLACE_PAGES,
};

/* Kinds of pages, as in c_pgm.py. */
enum kind {
	RAM_ZERO,
	RAM_RAW,
	MMIO2_RAW,
	MMIO2_ZERO,
	ROM_VIRGIN,
	ROM_SHADOW_RAW,
	ROM_SHADOW_ZERO,
	ROM_PROTECTION,
	RAM_BALLOONED,
};

struct numbers {
	u64 pages[KINDS];
	/* Contents that were put behind a page's record; only with WITNESS. */
	u64 contents;
	/* Pages of RAM that were noted, each time that they were. */
	u64 noted;
	/* What does not follow the order that is known. */
	u64 odd;
	/* What could not be noted or told. */
	u64 lost;
};

/* One for each process that is watched; user space makes it. */
struct vm {
	struct numbers numbers;
	/* Of the last page of RAM. */
	u64 gpa;
	u64 ram;
	/* What was put while no save was known to be under way: it had begun before. */
	u64 strays;
	u32 save;
	u8 saving;
	u8 live;
	u8 place;
	u8 lists;
	/* Bytes that are not the beginning of a record. */
	u8 skip;
	u8 address_due;
	u8 content_due;
	u8 kind;
};

struct event {
	u64 time;
	u64 value;
	struct numbers numbers;
	u32 pid;
	u32 save;
	u32 step;
	u32 pass;
	u32 instance;
	u32 crc;
	char name[32];
};

BPF_HASH(vms, u32, struct vm, MOST_VMS);
BPF_RINGBUF_OUTPUT(events, 64);

#ifdef WITNESS
#define BLOCK_WORDS 32
#define BLOCK_PAGES (BLOCK_WORDS * 64)

struct where {
	u64 block;
	u32 pid;
	u32 save;
};

struct block {
	u64 pages[BLOCK_WORDS];
};

/* Flag 1: memory is taken as it is needed. */
BPF_F_TABLE("hash", struct where, struct block, written, MOST_BLOCKS, 1);
BPF_ARRAY(empty, struct block, 1);
#endif

static inline u32 this_pid(void)
{
	return bpf_get_current_pid_tgid() >> 32;
}

static inline void tell(struct vm *vm, u32 pid, u32 step, u64 value, const char *header)
{
	struct event *event = events.ringbuf_reserve(sizeof(struct event));

	if (!event) {
		vm->numbers.lost++;
		return;
	}
	event->time = bpf_ktime_get_ns();
	event->value = value;
	event->numbers = vm->numbers;
	event->pid = pid;
	event->save = vm->save;
	event->step = step;
	event->pass = 0;
	event->instance = 0;
	event->crc = 0;
	event->name[0] = 0;
	if (header)
		bpf_probe_read_user(&event->crc, 4, header + 16);
	if (header && step == STEP_UNIT) {
		bpf_probe_read_user(&event->instance, 4, header + 28);
		bpf_probe_read_user(&event->pass, 4, header + 32);
		bpf_probe_read_user_str(event->name, sizeof(event->name), header + 44);
	}
	events.ringbuf_submit(event, 0);
}

static inline int mark(struct pt_regs *ctx, u32 step, u64 value)
{
	u32 pid = this_pid();
	struct vm *vm = vms.lookup(&pid);

	if (vm)
		tell(vm, pid, step, value, NULL);
	return 0;
}

int suspend(struct pt_regs *ctx)
{
	return mark(ctx, STEP_SUSPEND, PT_REGS_PARM2(ctx));
}

int suspended(struct pt_regs *ctx)
{
	return mark(ctx, STEP_SUSPENDED, (u32)PT_REGS_RC(ctx));
}

int resume(struct pt_regs *ctx)
{
	return mark(ctx, STEP_RESUME, PT_REGS_PARM2(ctx));
}

int resumed(struct pt_regs *ctx)
{
	return mark(ctx, STEP_RESUMED, (u32)PT_REGS_RC(ctx));
}

static inline int begin(u32 step, u64 value)
{
	u32 pid = this_pid();
	struct vm *vm = vms.lookup(&pid);

	if (!vm)
		return 0;
	__builtin_memset(&vm->numbers, 0, sizeof(vm->numbers));
	vm->gpa = 0;
	vm->ram = 0;
	vm->save++;
	vm->saving = 1;
	vm->live = 0;
	vm->place = PLACE_ELSEWHERE;
	vm->address_due = 0;
	vm->content_due = 0;
	tell(vm, pid, step, value, NULL);
	return 0;
}

int save(struct pt_regs *ctx)
{
	/* Whether the VM is to go on. */
	return begin(STEP_SAVE, PT_REGS_PARM5(ctx) & 1);
}

int teleport(struct pt_regs *ctx)
{
	return begin(STEP_TELEPORT, 0);
}

int saved(struct pt_regs *ctx)
{
	u32 pid = this_pid();
	struct vm *vm = vms.lookup(&pid);

	if (!vm || !vm->saving)
		return 0;
	vm->saving = 0;
	vm->place = PLACE_ELSEWHERE;
	tell(vm, pid, STEP_SAVED, (u32)PT_REGS_RC(ctx), NULL);
	return 0;
}

/* The unit of PGM begins: its sizes come first, unless an earlier pass had them. */
static inline void enter(struct vm *vm, const char *unit)
{
	char name[4] = {};
	u32 pass = 0;

	if (vm->address_due || vm->content_due || vm->place != PLACE_ELSEWHERE)
		vm->numbers.odd++;
	vm->address_due = 0;
	vm->content_due = 0;
	vm->place = PLACE_ELSEWHERE;
	bpf_probe_read_user(name, sizeof(name), unit + 44);
	if (name[0] != 'p' || name[1] != 'g' || name[2] != 'm' || name[3])
		return;
	bpf_probe_read_user(&pass, sizeof(pass), unit + 32);
	vm->lists = 0;
	vm->skip = 0;
	vm->place = !vm->live || !pass ? PLACE_SIZES : PLACE_PAGES;
}

/* Each header of the file has a checksum over itself, made when all else of it is there. */
int checksum(struct pt_regs *ctx)
{
	const char *header = (const char *)PT_REGS_PARM1(ctx);
	u32 pid = this_pid(), flags = 0;
	struct vm *vm = vms.lookup(&pid);
	u64 offset = 0;
	char magic[8] = {};

	if (!vm || !vm->saving || bpf_probe_read_user(magic, sizeof(magic), header))
		return 0;
	bpf_probe_read_user(&offset, sizeof(offset), header + 8);
	if (magic[0] == 0x7f && magic[1] == 'V' && magic[2] == 'i' && magic[3] == 'r') {
		bpf_probe_read_user(&flags, sizeof(flags), header + 52);
		vm->live = flags >> 1 & 1;
		tell(vm, pid, STEP_HEADER, vm->live, NULL);
		return 0;
	}
	if (magic[0] != '\n')
		return 0;
	if (magic[1] == 'U' && magic[2] == 'n' && magic[3] == 'i' && magic[4] == 't') {
		enter(vm, header);
		tell(vm, pid, STEP_UNIT, offset, header);
	} else if (magic[1] == 'T' && magic[2] == 'h' && magic[3] == 'e' && magic[4] == 'E') {
		enter(vm, header);
		tell(vm, pid, STEP_END, offset, NULL);
	} else if (magic[1] == 'F' && magic[2] == 'o' && magic[3] == 'o' && magic[4] == 't') {
		tell(vm, pid, STEP_FOOTER, offset, header);
	}
	return 0;
}

static inline void note(struct vm *vm, u32 pid)
{
#ifdef WITNESS
	u64 page = vm->gpa / PAGE;
	struct where where = { .block = page / BLOCK_PAGES, .pid = pid, .save = vm->save };
	struct block *block = written.lookup(&where);

	if (!block) {
		int zero = 0;
		struct block *none = empty.lookup(&zero);

		if (none)
			written.update(&where, none);
		block = written.lookup(&where);
	}
	if (!block) {
		vm->numbers.lost++;
		return;
	}
	block->pages[page / 64 % BLOCK_WORDS] |= 1ULL << page % 64;
	vm->numbers.noted++;
#endif
}

/* A page's record begins. */
static inline void record(struct vm *vm, u32 pid, u64 byte)
{
	u64 kind = byte & ~RECORD_ADDRESS;

	if (vm->address_due || vm->content_due)
		vm->numbers.odd++;
	vm->address_due = 0;
	vm->content_due = 0;
	if (byte == RECORD_END) {
		vm->place = PLACE_ELSEWHERE;
		return;
	}
	if (kind >= KINDS) {
		vm->numbers.odd++;
		return;
	}
	vm->numbers.pages[kind]++;
	vm->kind = kind;
#ifdef WITNESS
	vm->content_due = kind == RAM_RAW || kind == MMIO2_RAW || kind == ROM_VIRGIN ||
			  kind == ROM_SHADOW_RAW;
#endif
	if (kind == RAM_ZERO || kind == RAM_RAW || kind == RAM_BALLOONED) {
		if (byte & RECORD_ADDRESS) {
			vm->address_due = 1;
			return;
		}
		vm->gpa += PAGE;
		if (kind == RAM_RAW)
			note(vm, pid);
		return;
	}
	/* Its range's number; and how a ROM is protected. */
	vm->skip = (byte & RECORD_ADDRESS ? 1 : 0) + (kind >= ROM_VIRGIN ? 1 : 0);
}

int put_u8(struct pt_regs *ctx)
{
	u64 byte = PT_REGS_PARM2(ctx) & 0xff;
	u32 pid = this_pid();
	struct vm *vm = vms.lookup(&pid);

	if (!vm)
		return 0;
	if (!vm->saving) {
		vm->strays++;
	} else if (vm->place == PLACE_PAGES) {
		if (vm->skip)
			vm->skip--;
		else
			record(vm, pid, byte);
	} else if (vm->place == PLACE_RANGE) {
		if (byte != RECORD_END)
			vm->place = PLACE_REGION;
		else if (++vm->lists == 2)
			vm->place = PLACE_PAGES;
	} else if (vm->place == PLACE_REGION) {
		vm->place = PLACE_RANGE;
	}
	return 0;
}

int put_u64(struct pt_regs *ctx)
{
	u32 pid = this_pid();
	struct vm *vm = vms.lookup(&pid);

	if (!vm || vm->place != PLACE_SIZES)
		return 0;
	vm->ram = PT_REGS_PARM2(ctx);
	vm->place = PLACE_RANGE;
	return 0;
}

int put_gcphys(struct pt_regs *ctx)
{
	u32 pid = this_pid();
	struct vm *vm = vms.lookup(&pid);

	if (!vm || !vm->address_due || vm->place != PLACE_PAGES)
		return 0;
	vm->address_due = 0;
	vm->gpa = PT_REGS_PARM2(ctx);
	if (vm->kind == RAM_RAW)
		note(vm, pid);
	return 0;
}

#ifdef WITNESS
int put_mem(struct pt_regs *ctx)
{
	u32 pid = this_pid();
	struct vm *vm = vms.lookup(&pid);

	if (!vm || vm->place != PLACE_PAGES)
		return 0;
	if (vm->content_due && !vm->skip && !vm->address_due && PT_REGS_PARM3(ctx) == PAGE)
		vm->numbers.contents++;
	else
		vm->numbers.odd++;
	vm->content_due = 0;
	return 0;
}
#endif
