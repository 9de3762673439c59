// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Never loaded: built against a kernel's headers it tells debuggers what that
 * kernel's structures look like, where a gigabyte of debug packages is too much.
 */
#include <linux/fdtable.h>
#include <linux/fs.h>
#include <linux/hugetlb.h>
#include <linux/ipc_namespace.h>
#include <linux/kallsyms.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/msg.h>
#include <linux/netdevice.h>
#include <linux/nsproxy.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/pipe_fs_i.h>
#include <linux/rmap.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/shmem_fs.h>
#include <linux/skbuff.h>
#include <linux/swap.h>
#include <linux/tty.h>
#include <linux/tty_driver.h>
#include <linux/tty_flip.h>
#include <linux/utsname.h>
#include <linux/vmalloc.h>
#include <linux/vt_kern.h>
#include <linux/xarray.h>
#include <net/af_unix.h>
#include <net/sock.h>
#include <net/tcp.h>
#include <net/udp.h>

MODULE_DESCRIPTION("Types of a kernel, for debuggers");
MODULE_LICENSE("GPL");
