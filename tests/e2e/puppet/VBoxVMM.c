/* What `sparc watch` looks at of VirtualBox's VMM: functions that do nothing but be called. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CALLED(value) __asm__ volatile("" : : "r"(value) : "memory")

int SSMR3PutU8(void *ssm, uint8_t value)
{
	CALLED(value);
	return ssm != NULL;
}

int SSMR3PutU64(void *ssm, uint64_t value)
{
	CALLED(value);
	return ssm != NULL;
}

int SSMR3PutGCPhys(void *ssm, uint64_t value)
{
	CALLED(value);
	return ssm == NULL;
}

int SSMR3PutMem(void *ssm, const void *bytes, size_t count)
{
	CALLED(bytes);
	return ssm != NULL && count;
}

int VMR3Suspend(void *vm, int reason)
{
	CALLED(reason);
	return vm == NULL ? -1 : 0;
}

int VMR3Resume(void *vm, int reason)
{
	CALLED(reason);
	return vm == NULL ? -2 : 0;
}

int VMR3Teleport(void *vm, uint32_t downtime, int (*run)(void))
{
	CALLED(vm);
	CALLED(downtime);
	return run();
}

int VMR3Save(void *vm, const char *file, int (*run)(void), void *user, bool goes_on)
{
	CALLED(vm);
	CALLED(file);
	CALLED(user);
	CALLED(goes_on);
	return run();
}
