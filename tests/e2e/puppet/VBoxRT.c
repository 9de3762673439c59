/* What `sparc watch` looks at of VirtualBox's runtime. */
#include <stddef.h>
#include <stdint.h>

uint32_t RTCrc32(const void *bytes, size_t count)
{
	__asm__ volatile("" : : "r"(bytes), "r"(count) : "memory");
	return 0;
}
