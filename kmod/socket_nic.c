// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The receive ring of a network card, which keeps what it has received until the ring comes
 * round: of small packets the driver copies the contents, and gives the card the same
 * memory again. Only the Intel 8254x with the driver e1000, the card that virtual machines
 * have unless told otherwise: where its ring is can be read from its registers.
 */
#include <linux/etherdevice.h>
#include <linux/if_vlan.h>
#include <linux/mm.h>
#include <linux/netdevice.h>
#include <linux/pci.h>

#include "sockets.h"

#define MOST_CARDS	8

#define RECEIVE_CONTROL	0x0100
#define RECEIVE_ENABLED	0x0002
#define RING_LOW	0x2800
#define RING_HIGH	0x2804
#define RING_LENGTH	0x2808
#define RING_HEAD	0x2810
#define RING_TAIL	0x2818

#define HEADROOM	(NET_SKB_PAD + NET_IP_ALIGN)
#define CONTENTS	(VLAN_ETH_FRAME_LEN + ETH_FCS_LEN)
#define ROOM		(SKB_DATA_ALIGN(HEADROOM + CONTENTS) + \
			 SKB_DATA_ALIGN(sizeof(struct skb_shared_info)))

/* What the card reads: where a packet is to go, and what became of it. */
struct descriptor {
	__le64 address;
	__le64 result;
};

static struct card {
	struct pci_dev *device;
	void __iomem *registers;
} cards[MOST_CARDS];
static int cards_used;

static bool is_known(struct pci_dev *device)
{
	return device->dev.driver && !strcmp(device->dev.driver->name, "e1000") &&
	       !device_iommu_mapped(&device->dev) && pci_get_drvdata(device);
}

void sparc_nic_begin(void)
{
	struct pci_dev *device = NULL;

	sparc_nic_end();
	while ((device = pci_get_device(PCI_VENDOR_ID_INTEL, PCI_ANY_ID, device))) {
		void __iomem *registers;

		if (cards_used == MOST_CARDS || !is_known(device))
			continue;
		registers = pci_ioremap_bar(device, 0);
		if (registers)
			cards[cards_used++] = (struct card) { pci_dev_get(device), registers };
	}
}

void sparc_nic_end(void)
{
	while (cards_used) {
		struct card *card = &cards[--cards_used];

		iounmap(card->registers);
		pci_dev_put(card->device);
	}
}

static struct page *memory_at(u64 address)
{
	return pfn_valid(PHYS_PFN(address)) ? pfn_to_page(PHYS_PFN(address)) : NULL;
}

/* Where the card may write now is the driver's; the rest of the ring if it lies beside it. */
static bool is_current(u32 at, u32 head, u32 tail)
{
	return head <= tail ? at >= head && at < tail : at >= head || at < tail;
}

static int buffer(struct sparc_collection *collection, u64 address, struct page *beside)
{
	struct page *page = memory_at(address);

	if (!page || (beside && compound_head(page) != beside))
		return 0;
	if (!beside && (page != compound_head(page) || offset_in_page(address) >= HEADROOM))
		sparc_buffer_fixed(page, offset_in_page(address) - HEADROOM, ROOM);
	return sparc_extent(collection->manifest, phys_to_virt(address), CONTENTS,
			    SPARC_KIND_SOCKET);
}

static int ring(struct sparc_collection *collection, struct descriptor *ring, u32 count,
		u32 head, u32 tail)
{
	struct page *beside = NULL;
	int error = 0;
	u32 i, at;

	/* From the head on: first those that are current, whatever is beside them last. */
	for (i = 0; i < count && !error; i++) {
		phys_addr_t address, origin;
		bool bounced;

		at = (head + i) % count;
		address = le64_to_cpu(ring[at].address);
		bounced = sparc_bounced(address, &origin);
		if (!is_current(at, head, tail)) {
			/* A bounce buffer may be another device's by now. */
			error = beside && !bounced ? buffer(collection, address, beside) : 0;
			continue;
		}
		if (bounced) {
			if (!origin)
				continue;
			error = sparc_extent(collection->manifest, phys_to_virt(address), CONTENTS,
					     SPARC_KIND_SOCKET);
			if (error)
				break;
			address = origin;
		}
		error = buffer(collection, address, NULL);
		if (memory_at(address))
			beside = compound_head(memory_at(address));
	}
	return error;
}

static int card(struct sparc_collection *collection, struct card *card)
{
	struct net_device *device = pci_get_drvdata(card->device);
	void __iomem *registers = card->registers;
	u32 length = readl(registers + RING_LENGTH);
	u64 address = readl(registers + RING_LOW) | (u64)readl(registers + RING_HIGH) << 32;

	if (!device || !netif_running(device) || device->mtu > ETH_DATA_LEN ||
	    !(readl(registers + RECEIVE_CONTROL) & RECEIVE_ENABLED))
		return 0;
	if (!length || !memory_at(address) || !memory_at(address + length - 1))
		return 0;
	return ring(collection, phys_to_virt(address), length / sizeof(struct descriptor),
		    readl(registers + RING_HEAD), readl(registers + RING_TAIL));
}

int sparc_nic(struct sparc_collection *collection)
{
	int i, error = 0;

	for (i = 0; i < cards_used && !error; i++)
		error = card(collection, &cards[i]);
	return error;
}
