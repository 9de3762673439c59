"""What devices save of themselves, as the extension pack lets it through, from recorded orders."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PACK = Path(__file__).parents[2] / "host_service/extpack"


def puts(text: str) -> list[str]:
    """How a device hands over each value: the way, and the value or how many bytes."""
    return text.split()


# As VirtualBox 7.2.22's devices do it.
BUFFER = 0x10000
CONTROLLER = puts("10 10 10 b0 b0 b0 b0 b0 m8 p1000 p1ff8 p0 40")
DISK = puts(
    "b0 b0 b0 180 4208 410 43f 480 8200000 "
    "10 10 10 18 110 10 1f8 15b 15a 110 110 1a0 140 1e7 18 142 10 10 10 b0 b0 "
    "40 40 40 40 40 40 8105b00 40 mc m40 10 40 m10 410000 m10000"
)
STATUS = 9 + 12
IDE = ["b1", "t0", *CONTROLLER, *DISK, *DISK, *CONTROLLER, *DISK, *DISK, "4ffffffff"]
OLD_DISK = ["4105b00" if put == "8105b00" else put for put in DISK]

KEYBOARD = puts(
    "10 11d 147 11c 4ffffffff 10 12 10 11c 10 12 12 b1 b0 41 1fa 43 11c 132 1f0 41 132 40 "
    "10 164 13 10 10 15 10 40 43 18 11 1ff"
)
WAITING = 3

SERIAL = puts("14 i3f8 43 2c 141 142 15 1c1 181 13 1b 160 1b0 10 b0 b1 110 18 110 11 4ffffffff")

SCREEN = 0x900000
VGA = puts("4900000 41 40 m8 m300 s0 480000 m80000 s0 41000 m1000 s0 44 m8 m20 41000 m1000")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What plays a device, built afresh."""
    out = tmp_path_factory.mktemp("blank")
    subprocess.run(["make", "-s", "-C", PACK, f"OUT={out}", "blank-binary"], check=True)
    return out / "blank"


def save(
    program: Path, name: str, state: list[str], screen: int = 0
) -> tuple[list[str], int, bool, str]:
    """What is saved, how many values were blanked, whether it cannot be read, what is wrong."""
    done = subprocess.run(
        [program, name, str(screen)],
        input="\n".join(state),
        capture_output=True,
        text=True,
        check=True,
    )
    *saved, end = done.stdout.split("\n")[:-1]
    count, broken, fault = end.split(" ", 2)
    return saved, int(count), broken == "1", fault


@pytest.mark.parametrize("disk", [DISK, OLD_DISK])
def test_sector_buffers_are_zeros(program: Path, disk: list[str]) -> None:
    state = [*CONTROLLER, *disk, *disk, "4ffffffff"]
    expected = ["zeros" if put == f"m{BUFFER:x}" else put for put in state]
    assert save(program, "piix3ide", state) == (expected, 2, False, "")


@pytest.mark.parametrize(("at", "value"), [(STATUS, "148"), (STATUS, "1d0")])
def test_a_transfer_under_way_is_not_disturbed(program: Path, at: int, value: str) -> None:
    state = IDE.copy()
    state[2 + len(CONTROLLER) + at] = value
    saved, count, broken, fault = save(program, "piix3ide", state)
    assert saved.count("zeros") == count == 3
    assert saved[2 + len(CONTROLLER) + len(DISK) - 1] == f"m{BUFFER:x}"
    assert not broken and "in the middle of a transfer" in fault


@pytest.mark.parametrize("at", range(2, 8))
def test_nor_is_one_of_the_controller(program: Path, at: int) -> None:
    state = [*CONTROLLER, *DISK, *DISK, *CONTROLLER, *DISK, "4ffffffff"]
    state[at] = state[at][0] + "1"
    saved, count, _, fault = save(program, "piix3ide", state)
    assert saved.count("zeros") == count == 1, "the other controller's is blanked"
    assert "in the middle of a transfer" in fault


@pytest.mark.parametrize("at", range(len(DISK)))
def test_an_unknown_order_leaves_the_disk_alone(program: Path, at: int) -> None:
    state = [*CONTROLLER, *DISK[:at], *DISK[at + 1 :], "4ffffffff"]
    saved, count, broken, fault = save(program, "piix3ide", state)
    if at == len(DISK) - 1:  # A disk without a buffer: nothing can be in it.
        assert fault == ""
    else:
        assert fault
    assert (saved, count, broken) == (state, 0, False)


def test_strokes_are_dropped_and_the_rest_stays(program: Path) -> None:
    saved, _, broken, fault = save(program, "pckbd", KEYBOARD)
    expected = KEYBOARD.copy()
    expected[WAITING] = "1ff"
    expected[8] = expected[11] = "10"
    expected[16:20] = ["40", "nothing", "nothing", "nothing"]
    expected[-4:] = ["40", "nothing", "nothing", "nothing"]
    assert (saved, broken, fault) == (expected, False, "")


@pytest.mark.parametrize(
    ("status", "waits", "saved"),
    [("11c", "11e", "10"), ("11d", "1fa", "1fa"), ("13d", "18", "18"), ("11d", "11e", "1ff")],
)
def test_a_byte_that_was_announced_is_there(
    program: Path, status: str, waits: str, saved: str
) -> None:
    """Or the guest would wait for its interrupt for good."""
    state = KEYBOARD.copy()
    state[1], state[WAITING] = status, waits
    assert save(program, "pckbd", state)[0][WAITING] == saved


@pytest.mark.parametrize("at", range(len(KEYBOARD)))
def test_a_keyboard_of_unknown_order_is_never_taken_for_good(program: Path, at: int) -> None:
    missing = [*KEYBOARD[:at], *KEYBOARD[at + 1 :]]
    _, count, broken, fault = save(program, "pckbd", missing)
    # Among numbers of one kind none can be told to be missing, but the end then comes too soon.
    assert fault and (broken or not count)


def test_of_a_serial_line_its_data_registers_go(program: Path) -> None:
    expected = SERIAL.copy()
    expected[4:6] = ["10", "10"]
    assert save(program, "serial", SERIAL) == (expected, 2, False, "")
    assert save(program, "serial", SERIAL[1:])[3]
    assert save(program, "serial", [*SERIAL, "m10"])[3]


def test_pictures_go_where_the_screen_does(program: Path) -> None:
    saved, count, _, fault = save(program, "vga", VGA, SCREEN)
    expected = [
        "zeros" if put[0] == "m" and VGA[at - 2] == "s0" and VGA[at - 1][1:] == put[1:] else put
        for at, put in enumerate(VGA)
    ]
    assert (saved, count, fault) == (expected, 2, "")
    assert save(program, "vga", VGA) == (VGA, 0, False, "")
    assert "another amount" in save(program, "vga", VGA, SCREEN // 2)[3]


def test_an_ahci_controller_has_no_sectors(program: Path) -> None:
    assert save(program, "ahci", ["41e", "m40"]) == (["41e", "m40"], 0, False, "")
    assert save(program, "ahci", ["41e", "m200"])[3]
