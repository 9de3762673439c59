"""Which protection is taken out by which change of the sources, and the test that is to notice."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MUTATIONS", "Mutation"]


@dataclass(frozen=True)
class Mutation:
    """In ``file``, named from the root, ``right``, which stands there once, becomes ``wrong``.

    ``test`` is a test as pytest names it.
    """

    protection: str
    file: str
    right: str
    wrong: str
    test: str


_PACK = "host_service/extpack"
_HOST = "tests/e2e/test_faults.py"
_GUEST = "tests/guest/test_faults.py"
_SERVICE = "tests/guest/test_service.py"
_STARTS = "tests/e2e/test_starts.py"
_STASH = "tests/e2e/test_stash.py"
_QEMU = "host_service/qemu"
_QEMU_HOST = "tests/guest/test_qemu_host.py"

_ONLY_OF_GOOD_SAVES = (
    "\tcheckpoint_finish(&checkpoint, &machine.guest.inside);\n\tif (unannounced) {",
    "\tif (VBOX_FAILED(machine.vmm.save_status(ssm)))\n\t\tcheckpoint_free(&checkpoint);\n"
    "\telse\n\t\tcheckpoint_finish(&checkpoint, &machine.guest.inside);\n\tif (unannounced) {",
)

MUTATIONS = (
    Mutation(
        "bounce buffers are kept out",
        "kmod/collect.c",
        "\t\terror = sparc_bounce(collection);",
        "\t\t(void)sparc_bounce;",
        "tests/guest/test_torture.py::test_memory_above_four_gigabytes[lab]",
    ),
    Mutation(
        "memory is put back when a save fails",
        f"{_PACK}/interpose.c",
        *_ONLY_OF_GOOD_SAVES,
        f"{_HOST}::test_a_disk_that_is_full",
    ),
    Mutation(
        "memory is put back when a save is cancelled",
        f"{_PACK}/interpose.c",
        *_ONLY_OF_GOOD_SAVES,
        f"{_HOST}::test_a_save_that_is_cancelled_in_the_middle",
    ),
    Mutation(
        "a save that is cancelled is no refusal",
        f"{_PACK}/interpose.c",
        "\tif (VBOX_FAILED(machine.vmm.save_status(ssm)))\n\t\treturn;\n\tif (device)",
        "\t(void)ssm;\n\tif (device)",
        f"{_HOST}::test_a_save_that_is_cancelled_in_the_middle",
    ),
    Mutation(
        "a guest is let go when nothing was saved",
        f"{_PACK}/interpose.c",
        "\thandshake_release(&machine.guest.outside);\n\tmachine_set_park(&none);",
        "\tmachine_set_park(&none);",
        f"{_HOST}::test_a_disk_that_cannot_be_written",
    ),
    Mutation(
        "without memory for the stash nothing is taken out",
        f"{_PACK}/stash.c",
        "\t\treturn STASH_NO_MEMORY;\n\tmanifest_for_each(frame, manifest->stash",
        "\t\treturn STASH_DONE;\n\tmanifest_for_each(frame, manifest->stash",
        f"{_HOST}::test_no_memory_for_what_is_taken_out",
    ),
    Mutation(
        "each checkpoint asks the guest anew",
        f"{_PACK}/handshake.c",
        "\tpark->sequence++;\n",
        "",
        f"{_HOST}::test_two_checkpoints_asked_for_at_once",
    ),
    Mutation(
        "a guest whose host stands still waits for it",
        "kmod/park.c",
        "static unsigned long park_turns = 100000000;",
        "static unsigned long park_turns = 100;",
        f"{_HOST}::test_the_host_stands_still_while_the_guest_parks",
    ),
    Mutation(
        "the report stands beside the file, whether the service lives or not",
        f"{_PACK}/machine.c",
        "\tif (state_file && deliver_to_file(text, state_file))",
        "\tif (false && deliver_to_file(text, state_file))",
        f"{_HOST}::test_the_hosts_service_does_not_answer_or_is_gone",
    ),
    Mutation(
        "memory is taken out before the file is written",
        f"{_PACK}/checkpoint.c",
        "\t\tresult = stash_zero(&checkpoint->stash, &checkpoint->manifest, memory);",
        "\t\tresult = STASH_DONE;",
        f"{_HOST}::test_the_machines_process_is_killed_in_the_middle_of_a_save",
    ),
    Mutation(
        "the stash is in no core dump",
        f"{_PACK}/stash.c",
        "madvise(stash->bytes, stash->bytes_room, MADV_DONTDUMP) ||",
        "0 ||",
        _STASH,
    ),
    Mutation(
        "the stash is not swapped",
        f"{_PACK}/stash.c",
        "\tstash->locked = mlock2(stash->bytes, stash->bytes_room, MLOCK_ONFAULT) == 0;",
        "\tstash->locked = true;",
        _STASH,
    ),
    Mutation(
        "the stash is wiped",
        f"{_PACK}/stash.c",
        "\t\texplicit_bzero(stash->bytes, dirty < stash->bytes_room ? dirty : stash->bytes_room);\n"
        "\t\tmunmap(stash->bytes, stash->bytes_room);",
        "\t\t(void)dirty;",
        _STASH,
    ),
    Mutation(
        "a guest that does not answer is not clean",
        f"{_PACK}/checkpoint.c",
        "\tcase PARK_TIMEOUT:\n\t\treturn REASON_TIMEOUT;",
        "\tcase PARK_TIMEOUT:\n\t\treturn REASON_NOTHING_EXCLUDED;",
        "tests/unit/test_handshake.py::test_nobody_waits_for_ever",
    ),
    Mutation(
        "a guest without the module is not clean",
        f"{_PACK}/checkpoint.c",
        "checkpoint->reason == REASON_NOTHING_EXCLUDED);",
        "checkpoint->reason == REASON_NOTHING_EXCLUDED ||\n"
        "\t\t\t\t\tcheckpoint->reason == REASON_NO_MODULE);",
        f"{_STARTS}::test_a_guest_that_goes_down_and_starts_anew",
    ),
    Mutation(
        "excluded processes are gone after a restore",
        "kmod/park.c",
        "\t\tkill_set(parking);",
        "\t\t(void)kill_set;",
        f"{_STARTS}::test_a_checkpoint_while_it_is_restored",
    ),
    Mutation(
        "a pack that hooked nothing does not look as if it had",
        f"{_PACK}/vm.c",
        "\tif (!slots[SAVE].place)\n\t\treturn false;",
        "",
        "tests/e2e/test_other_version.py",
    ),
    Mutation(
        "all are thawed when the service is killed",
        "kmod/thaw.c",
        "\t\tif (thaw && kernel_write",
        "\t\tif (false && kernel_write",
        f"{_SERVICE}::test_a_service_killed_while_all_are_frozen[lab]",
    ),
    Mutation(
        "children are excluded from their first instruction",
        "kmod/follow.c",
        "\tif (thread_group_leader(child) && sparc_member_flags(parent, &flags))",
        "\tif (false && sparc_member_flags(parent, &flags))",
        f"{_GUEST}::test_who_stands_in_the_way",
    ),
    Mutation(
        "a witness tells of a page that was written and was not to be",
        "host_service/watch/witness.py",
        "Result.SOME if len(wrong) else Result.NONE,",
        "Result.NONE,",
        "tests/e2e/test_watch.py::test_a_listed_page_with_content_is_told",
    ),
    Mutation(
        "a witness that missed something calls nothing clean",
        "host_service/watch/probes.bpf.c",
        "\t\tvm->numbers.lost++;\n\t\treturn;\n\t}\n\tblock->pages",
        "\t\treturn;\n\t}\n\tblock->pages",
        "tests/e2e/test_watch.py::test_what_finds_no_room_is_not_called_clean",
    ),
    Mutation(
        "QEMU: who takes a checkpoint may be killed",
        f"{_QEMU}/keeper.py",
        "                    stash.put_back(memory)\n",
        "",
        f"{_QEMU_HOST}::test_killed_at_any_step[bookworm-_write]",
    ),
    Mutation(
        "QEMU: a guest is let go by the keeper",
        f"{_QEMU}/keeper.py",
        "                    self._let_go(memory)\n",
        "                    pass\n",
        f"{_QEMU_HOST}::test_killed_at_any_step[bookworm-_judge]",
    ),
    Mutation(
        "QEMU: nothing is taken out without a keeper",
        f"{_QEMU}/keeper.py",
        "        raise KeeperLost\n",
        "        return\n",
        f"{_QEMU_HOST}::test_without_its_keeper_it_goes_no_further[bookworm]",
    ),
    Mutation(
        "QEMU: all memory is saved, whatever QEMU is set to",
        f"{_QEMU}/checkpoint.py",
        '    "x-ignore-shared",\n',
        "",
        f"{_QEMU_HOST}::test_settings_that_would_leave_memory_out[bookworm]",
    ),
    Mutation(
        "QEMU: the screen",
        f"{_QEMU}/checkpoint.py",
        "        wanted = {Display.TEXT: blank_text, Display.ALL: blank_all}",
        "        wanted = {Display.TEXT: blank_text}",
        f"{_QEMU_HOST}::test_the_screen_and_keys[bookworm]",
    ),
    Mutation(
        "QEMU: what was taken out cannot come out",
        f"{_QEMU}/pump.py",
        "        if table.count(0) != len(table):",
        "        if not table and first < 0:",
        "tests/unit/host/test_qemu.py::test_what_was_taken_out_cannot_pass[2-plain-old]",
    ),
)
