// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm.h"

#include <dlfcn.h>

#include "log.h"

static const struct {
	const char *name;
	size_t offset;
} functions[] = {
#define FUNCTION(member, name) { name, offsetof(struct vmm, member) }
	FUNCTION(suspend, "VMR3Suspend"),
	FUNCTION(resume, "VMR3Resume"),
	FUNCTION(save, "VMR3Save"),
	FUNCTION(get_uvm, "VMR3GetUVM"),
	FUNCTION(get_state, "VMR3GetStateU"),
	FUNCTION(get_state_name, "VMR3GetStateName"),
	FUNCTION(get_name, "VMR3GetName"),
	FUNCTION(get_uuid, "VMR3GetUuid"),
	FUNCTION(get_cpu, "VMMGetCpu"),
	FUNCTION(register_unit, "SSMR3RegisterExternal"),
	FUNCTION(deregister_unit, "SSMR3DeregisterExternal"),
	FUNCTION(save_after, "SSMR3HandleGetAfter"),
	FUNCTION(save_status, "SSMR3HandleGetStatus"),
	FUNCTION(put_u32, "SSMR3PutU32"),
	FUNCTION(read, "PGMPhysSimpleReadGCPhys"),
	FUNCTION(write, "PGMPhysSimpleWriteGCPhys"),
	FUNCTION(is_normal, "PGMPhysIsGCPhysNormal"),
	FUNCTION(map, "PGMR3PhysGCPhys2CCPtrExternal"),
	FUNCTION(map_read_only, "PGMR3PhysGCPhys2CCPtrReadOnlyExternal"),
	FUNCTION(unmap, "PGMPhysReleasePageMappingLock"),
	FUNCTION(ram_below_4g, "MMR3PhysGetRamSizeBelow4GB"),
	FUNCTION(ram_above_4g, "MMR3PhysGetRamSizeAbove4GB"),
	FUNCTION(get_range, "PGMR3PhysGetRange"),
	FUNCTION(runtime_error, "VMSetRuntimeError"),
#undef FUNCTION
};

const char *vmm_open(struct vmm *vmm, const void *table)
{
	Dl_info info;
	void *library;

	if (!dladdr(table, &info) || !info.dli_fname)
		return "the library of the function table";
	/* It stays loaded for as long as there is a machine to call for. */
	library = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
	if (!library)
		return info.dli_fname;
	vmm->library = library;
	log_open(library);
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		void *function = dlsym(library, functions[i].name);

		/* It is only there to say more. */
		if (!function && functions[i].offset != offsetof(struct vmm, runtime_error))
			return functions[i].name;
		*(void **)((char *)vmm + functions[i].offset) = function;
	}
	return NULL;
}
