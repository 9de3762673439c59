// SPDX-License-Identifier: GPL-2.0-or-later
/* /dev/sparc: for one opener at a time, the guest service. */
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/wait.h>

#include "compat.h"
#include "sparc.h"

#define TARGET_FLAGS	(SPARC_WITH_DESCENDANTS | SPARC_MEMORY_ONLY | SPARC_WITH_DISPLAY)

static DEFINE_MUTEX(command_lock);

static int device_open(struct inode *inode, struct file *file)
{
	if (!capable(CAP_SYS_ADMIN) || sparc_is_member(current))
		return -EPERM;
	return sparc_opener_set(current);
}

/* The service ends, perhaps by a kill in the middle of something. */
static int device_release(struct inode *inode, struct file *file)
{
	sparc_thaw_all();
	sparc_opener_clear();
	sparc_park_orphaned();
	sparc_events_clear();
	return 0;
}

static ssize_t device_read(struct file *file, char __user *buffer, size_t size, loff_t *offset)
{
	struct sparc_event event;
	size_t done = 0;
	int error;

	if (size < sizeof(event))
		return -EINVAL;
	if (!sparc_events_waiting()) {
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		error = wait_event_interruptible(sparc_events_wait, sparc_events_waiting());
		if (error)
			return error;
	}
	while (size - done >= sizeof(event) && sparc_events_next(&event)) {
		if (copy_to_user(buffer + done, &event, sizeof(event)))
			return -EFAULT;
		done += sizeof(event);
	}
	return done ? done : -EAGAIN;
}

static __poll_t device_poll(struct file *file, struct poll_table_struct *table)
{
	poll_wait(file, &sparc_events_wait, table);
	return sparc_events_waiting() ? EPOLLIN | EPOLLRDNORM : 0;
}

/* The manifest of the last count, to be read. */
static int device_mmap(struct file *file, struct vm_area_struct *area)
{
	if (area->vm_flags & VM_WRITE)
		return -EPERM;
	sparc_never_writable(area);
	return remap_vmalloc_range(area, sparc_run.base, area->vm_pgoff);
}

static long change(unsigned int command, void __user *argument)
{
	struct sparc_target target;
	int error;

	if (copy_from_user(&target, argument, sizeof(target)))
		return -EFAULT;
	if (target.pid <= 0 || (target.flags & ~TARGET_FLAGS))
		return -EINVAL;
	if (command == SPARC_IOC_EXCLUDE) {
		error = sparc_files_watch();
		if (!error)
			error = sparc_exclude(&target);
		if (!error)
			error = sparc_files_adopt();
	} else {
		error = sparc_include(&target);
	}
	sparc_poll_wake();
	if (!error && copy_to_user(argument, &target, sizeof(target)))
		return -EFAULT;
	return error;
}

static long list(void __user *argument)
{
	struct sparc_process *processes = NULL;
	struct sparc_list request;
	size_t bytes;
	int error = 0;

	if (copy_from_user(&request, argument, sizeof(request)))
		return -EFAULT;
	if (request.capacity > sparc_run.max_processes)
		request.capacity = sparc_run.max_processes;
	bytes = request.capacity * sizeof(*processes);
	if (bytes) {
		processes = kvzalloc(bytes, GFP_KERNEL);
		if (!processes)
			return -ENOMEM;
	}
	request.count = sparc_list(processes, request.capacity);
	bytes = min(request.count, request.capacity) * sizeof(*processes);
	if (bytes && copy_to_user(u64_to_user_ptr(request.buffer), processes, bytes))
		error = -EFAULT;
	else if (copy_to_user(argument, &request, sizeof(request)))
		error = -EFAULT;
	kvfree(processes);
	return error;
}

static long collect(void __user *argument)
{
	struct sparc_collection collection = { 0 };
	struct sparc_collect *answer;
	int error;

	answer = kzalloc(sizeof(*answer), GFP_KERNEL);
	if (!answer)
		return -ENOMEM;
	error = sparc_collect_dry(&collection);
	if (!error)
		answer->manifest = sparc_mailbox->manifest;
	answer->run_capacity = sparc_run.capacity;
	answer->collect_ns = collection.ns;
	answer->retries = collection.retries;
	answer->reason = collection.reason;
	answer->reason_pid = collection.reason_pid;
	error = copy_to_user(argument, answer, sizeof(*answer)) ? -EFAULT : 0;
	kfree(answer);
	return error;
}

static long park(void __user *argument)
{
	struct sparc_park request;
	int error;

	if (copy_from_user(&request, argument, sizeof(request)))
		return -EFAULT;
	error = sparc_park(&request);
	if (!error && copy_to_user(argument, &request, sizeof(request)))
		return -EFAULT;
	return error;
}

static long fail(void __user *argument)
{
	struct sparc_fail failure;

	if (copy_from_user(&failure, argument, sizeof(failure)))
		return -EFAULT;
	return sparc_park_fail(&failure);
}

static long freezes(void __user *argument)
{
	s32 fd;

	if (copy_from_user(&fd, argument, sizeof(fd)))
		return -EFAULT;
	return sparc_thaw_note(fd);
}

static long keep_file(void __user *argument)
{
	s32 fd;

	if (copy_from_user(&fd, argument, sizeof(fd)))
		return -EFAULT;
	return sparc_files_keep(fd);
}

static long version(void __user *argument)
{
	u32 abi = SPARC_ABI_VERSION;

	return copy_to_user(argument, &abi, sizeof(abi)) ? -EFAULT : 0;
}

static long command(unsigned int number, void __user *argument)
{
	switch (number) {
	case SPARC_IOC_VERSION:
		return version(argument);
	case SPARC_IOC_EXCLUDE:
	case SPARC_IOC_INCLUDE:
		return change(number, argument);
	case SPARC_IOC_LIST:
		return list(argument);
	case SPARC_IOC_COLLECT:
		return collect(argument);
	case SPARC_IOC_PARK:
		return park(argument);
	case SPARC_IOC_FAIL:
		return fail(argument);
	case SPARC_IOC_FREEZES:
		return freezes(argument);
	case SPARC_IOC_THAWED:
		sparc_thaw_forget();
		return 0;
	case SPARC_IOC_KEEP_FILE:
		return keep_file(argument);
	default:
		return -ENOTTY;
	}
}

static long device_ioctl(struct file *file, unsigned int number, unsigned long argument)
{
	long result;

	/* A child of the service may have inherited the file; it is not the service. */
	if (!sparc_is_opener(current))
		return -EPERM;
	mutex_lock(&command_lock);
	result = command(number, (void __user *)argument);
	mutex_unlock(&command_lock);
	return result;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.open = device_open,
	.release = device_release,
	.read = device_read,
	.poll = device_poll,
	.mmap = device_mmap,
	.unlocked_ioctl = device_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "sparc",
	.fops = &operations,
	.mode = 0600,
};

int sparc_device_make(void)
{
	return misc_register(&device);
}

void sparc_device_remove(void)
{
	misc_deregister(&device);
}
