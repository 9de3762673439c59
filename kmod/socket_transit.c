// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What is between sockets: packets that wait for a CPU or a device are on their way, and
 * have arrived soon; buffers that wait to be freed are nobody's.
 */
#include <linux/netdevice.h>
#include <net/net_namespace.h>
#include <net/sch_generic.h>

#include "sockets.h"
#include "compat_net.h"

static bool is_sending(struct net_device *device)
{
	unsigned int i;

	for (i = 0; i < device->num_tx_queues; i++) {
		struct netdev_queue *queue = netdev_get_tx_queue(device, i);

		if (rcu_access_pointer(queue->qdisc) &&
		    qdisc_qlen_sum(rcu_dereference_raw(queue->qdisc)))
			return true;
	}
	return false;
}

static bool in_motion(void)
{
	struct net_device *device;
	struct net *net;
	int cpu;

	for_each_possible_cpu(cpu) {
		struct softnet_data *data = &per_cpu(softnet_data, cpu);

		if (!skb_queue_empty(&data->input_pkt_queue) ||
		    !skb_queue_empty(&data->process_queue))
			return true;
	}
	for_each_net(net)
		for_each_netdev(net, device)
			if (is_sending(device))
				return true;
	return false;
}

static int take_chain(struct sparc_collection *collection, struct sk_buff *skb)
{
	int error = 0;

	for (; skb && error >= 0; skb = skb->next)
		error = sparc_buffer_take(collection, skb);
	return min(error, 0);
}

int sparc_transit(struct sparc_collection *collection)
{
	int cpu, error = 0;

	if (in_motion())
		return sparc_collect_blame(collection, SPARC_REASON_BUSY, NULL);
	for_each_possible_cpu(cpu) {
		if (!error)
			error = take_chain(collection, per_cpu(softnet_data, cpu).completion_queue);
		if (!error)
			error = sparc_deferred_buffers(collection, cpu, take_chain);
	}
	return error;
}
