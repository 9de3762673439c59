/* Terminals: pseudo ones, virtual consoles, serial lines. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

#include "torture.h"

#define SOME (40 * COPY)
#define PAIRS 32
#define WAIT_MS 120000
#define CONSOLE 9
#define BEHIND "/dev/tty10"
#define LEFT "/dev/tty11"
#define SERIAL "/dev/ttyS0"

enum side { MASTER, SLAVE };

/* Pairs that both processes have, as far as each keeps its sides. */
static int to_outside[2], typed_outside[2], common[2], left[2];

static int open_terminal(const char *path)
{
	int terminal = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK);

	if (terminal < 0)
		die(path);
	return terminal;
}

static void make(int sides[2])
{
	sides[MASTER] = open_terminal("/dev/ptmx");
	if (unlockpt(sides[MASTER]))
		die("unlockpt");
	sides[SLAVE] = ioctl(sides[MASTER], TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK);
	if (sides[SLAVE] < 0)
		die("TIOCGPTPEER");
}

/* Each byte goes through as it is, but for `local`: flags that stay. */
static void make_raw(int terminal, tcflag_t local)
{
	struct termios modes;

	if (tcgetattr(terminal, &modes))
		die("tcgetattr");
	cfmakeraw(&modes);
	modes.c_lflag |= local;
	if (tcsetattr(terminal, TCSANOW, &modes))
		die("tcsetattr");
}

static void put(int terminal, size_t size, enum class_id id)
{
	char data[SOME];

	fill_with(data, size, id);
	if (write(terminal, data, size) != (ssize_t)size)
		die("write to a terminal");
}

/* Up to `size` bytes, or what comes before a time is over; -1: nothing will come. */
static ssize_t get(int terminal, char *data, size_t size, int wait)
{
	struct pollfd ready = { terminal, POLLIN, 0 };
	size_t got = 0;

	while (got < size && poll(&ready, 1, wait) > 0) {
		ssize_t part = read(terminal, data + got, size - got);

		if (part <= 0)
			return got ? (ssize_t)got : -1;
		got += part;
	}
	return got;
}

static void take(int terminal, size_t size)
{
	char data[SOME];

	if (get(terminal, data, size, WAIT_MS) != (ssize_t)size)
		die("read from a terminal");
}

static void open_terminals(void)
{
	make(to_outside);
	make(typed_outside);
	make(common);
	make(left);
	make_raw(to_outside[SLAVE], 0);
	make_raw(typed_outside[SLAVE], 0);
	make_raw(left[SLAVE], 0);
}

static void plant_typed(void)
{
	int sides[2];

	make(sides);
	put(sides[MASTER], SOME, TTY_TYPED);

	make(sides);
	put(sides[MASTER], SECRET_LENGTH, TTY_UNFINISHED);

	make(sides);
	put(sides[MASTER], SOME, TTY_TYPED_PARTLY);
	take(sides[SLAVE], 20 * COPY);

	make(sides);
	put(sides[MASTER], SOME, TTY_TYPED_READ);
	take(sides[SLAVE], SOME);

	make(sides);
	make_raw(sides[SLAVE], 0);
	put(sides[MASTER], SOME, TTY_RAW);
	take(sides[SLAVE], SOME / 2);
}

/* What was typed is read and written over: what is left is the echo. */
static void plant_echo(void)
{
	char junk[100] = "";
	int sides[2];

	make(sides);
	make_raw(sides[SLAVE], ECHO);
	if (tcflow(sides[SLAVE], TCOOFF))
		die("tcflow");
	put(sides[MASTER], SOME, TTY_ECHO);
	take(sides[SLAVE], SOME);
	make_raw(sides[SLAVE], 0);
	for (int i = 0; i < 50; i++) {
		if (write(sides[MASTER], junk, sizeof(junk)) != sizeof(junk))
			die("write to a terminal");
		take(sides[SLAVE], sizeof(junk));
	}
}

static void plant_output(void)
{
	int sides[2], on = 1;

	make(sides);
	make_raw(sides[SLAVE], 0);
	put(sides[SLAVE], SOME, TTY_OUTPUT);

	make(sides);
	make_raw(sides[SLAVE], 0);
	put(sides[SLAVE], SOME, TTY_OUTPUT_PARTLY);
	take(sides[MASTER], SOME / 2);

	make(sides);
	make_raw(sides[SLAVE], 0);
	put(sides[SLAVE], SOME, TTY_OUTPUT_READ);
	take(sides[MASTER], SOME);

	make(sides);
	make_raw(sides[SLAVE], 0);
	if (ioctl(sides[MASTER], TIOCPKT, &on))
		die("TIOCPKT");
	put(sides[SLAVE], SOME, TTY_PACKETS);
	take(sides[MASTER], 1 + SOME / 2);
}

static void plant_for_outside(void)
{
	put(to_outside[SLAVE], SOME, TTY_TO_OUTSIDE);
	put(typed_outside[MASTER], SOME, TTY_TYPED_OUTSIDE);
	put(common[MASTER], SOME, TTY_SHARED);
	close(to_outside[MASTER]);
	close(typed_outside[SLAVE]);
	close(common[MASTER]);
}

/* As in a window: the shell says again what was typed. */
static void plant_shell(void)
{
	char data[4096] = "", *second = NULL;
	const char *text = secret(TTY_SHELL);
	int sides[2], got = 0;

	make(sides);
	if (!fork()) {
		setsid();
		ioctl(sides[SLAVE], TIOCSCTTY, 0);
		fcntl(sides[SLAVE], F_SETFL, O_RDWR);
		for (int i = 0; i < 3; i++)
			dup2(sides[SLAVE], i);
		execl("/bin/sh", "sh", "-i", NULL);
		_exit(1);
	}
	dprintf(sides[MASTER], "echo %s\n", text);
	while (!second && got < (int)sizeof(data) - 1) {
		ssize_t part = get(sides[MASTER], data + got, 1, WAIT_MS);

		if (part != 1)
			die("a shell");
		got++;
		second = strstr(data, text);
		second = second ? strstr(second + 1, text) : NULL;
	}
}

static void plant_consoles(void)
{
	int console, characters, behind;
	char path[32], part[16];

	snprintf(path, sizeof(path), "/dev/tty%d", CONSOLE);
	console = open_terminal(path);
	if (write(console, "\033[2J", 4) != 4)
		die(path);
	/* From the first look on, the screen is kept a second time, in wide characters. */
	snprintf(path, sizeof(path), "/dev/vcsu%d", CONSOLE);
	characters = open(path, O_RDONLY);
	if (characters < 0 || read(characters, part, sizeof(part)) != sizeof(part))
		die(path);
	put(console, SOME, CONSOLE_SCREEN);
	for (const char *text = secret(CONSOLE_TYPED); *text; text++)
		if (ioctl(console, TIOCSTI, text))
			die("TIOCSTI");

	behind = open_terminal(BEHIND);
	put(behind, 10 * COPY, CONSOLE_BEHIND);
	/* A kernel that knows no alternate screen shows it still. */
	if (write(behind, "\033[?1049h", 8) != 8)
		die(BEHIND);
}

static void plant_serial(void)
{
	int line = open_terminal(SERIAL);

	if (tcflush(line, TCOFLUSH) || tcflow(line, TCOOFF))
		die(SERIAL);
	put(line, SOME, SERIAL_OUTPUT);
}

static void plant_terminals(void)
{
	plant_typed();
	plant_echo();
	plant_output();
	plant_for_outside();
	plant_shell();
	plant_consoles();
	plant_serial();
}

/* By one that ends: what it was at is somebody else's now. */
static void leave(void)
{
	pid_t child = fork();

	if (!child) {
		put(left[SLAVE], SOME, TTY_LEFT);
		put(open_terminal(LEFT), SOME, CONSOLE_LEFT);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	close(left[MASTER]);
	close(left[SLAVE]);
}

static void free_terminals(void)
{
	int many[PAIRS][2];

	leave();
	for (int i = 0; i < PAIRS; i++) {
		make(many[i]);
		make_raw(many[i][SLAVE], 0);
		put(many[i][MASTER], SOME, TTY_CLOSED);
		put(many[i][SLAVE], SOME, TTY_CLOSED);
	}
	for (int i = 0; i < PAIRS; i++) {
		close(many[i][MASTER]);
		close(many[i][SLAVE]);
	}
}

static void comes_whole(int terminal, enum class_id id, const char *what)
{
	char data[SOME];

	broken_unless(get(terminal, data, SOME, WAIT_MS) == SOME &&
		      is_filled_with(data, SOME, 0, id), what);
}

static void verify_continued(void)
{
	int line = open_terminal(SERIAL);

	comes_whole(to_outside[MASTER], TTY_TO_OUTSIDE, "output of a terminal");
	comes_whole(typed_outside[SLAVE], TTY_TYPED_OUTSIDE, "input of a terminal");
	comes_whole(common[SLAVE], TTY_SHARED, "input of a terminal that is shared");
	comes_whole(left[MASTER], TTY_LEFT, "output of one that has ended");
	/* Others want to use it. */
	tcflush(line, TCOFLUSH);
	tcflow(line, TCOON);
}

static void is_empty(int terminal, const char *what)
{
	char data[SOME];

	broken_unless(get(terminal, data, SOME, 1000) <= 0, what);
}

static void works(int keyboard, int terminal, const char *what)
{
	char data[16];

	if (keyboard == terminal) {
		for (const char *at = "ok\n"; *at; at++)
			ioctl(terminal, TIOCSTI, at);
	} else {
		broken_unless(write(keyboard, "ok\n", 3) == 3, what);
		broken_unless(get(keyboard, data, 4, WAIT_MS) == 4 && !memcmp(data, "ok\r\n", 4),
			      what);
	}
	broken_unless(get(terminal, data, 3, WAIT_MS) == 3 && !memcmp(data, "ok\n", 3), what);
}

static void is_blank(const char *path)
{
	char screen[8192];
	int file = open(path, O_RDONLY);
	ssize_t size = read(file, screen, sizeof(screen));

	broken_unless(size > 0, path);
	for (ssize_t i = 0; i < size; i++)
		broken_unless(screen[i] == ' ', path);
	close(file);
}

static void verify_restored(void)
{
	char path[32];
	int console, line, waiting = 1;

	is_empty(to_outside[MASTER], "output of a terminal after a restore");
	is_empty(typed_outside[SLAVE], "input of a terminal after a restore");
	is_empty(left[MASTER], "output of one that has ended, after a restore");
	works(common[MASTER], common[SLAVE], "a terminal that is shared, after a restore");

	snprintf(path, sizeof(path), "/dev/vcs%d", CONSOLE);
	is_blank(path);
	snprintf(path, sizeof(path), "/dev/tty%d", CONSOLE);
	console = open_terminal(path);
	works(console, console, "a console after a restore");
	/* Others may have something to say there, now that it goes on. */
	line = open_terminal(SERIAL);
	for (int i = 0; i < 100 && !ioctl(line, TIOCOUTQ, &waiting) && waiting; i++)
		usleep(100000);
	broken_unless(!waiting, "a serial line after a restore");
}

static void verify_terminals(int restored)
{
	close(to_outside[SLAVE]);
	close(typed_outside[MASTER]);
	if (restored)
		verify_restored();
	else
		verify_continued();
}

const struct chapter terminals = {
	.name = "terminals",
	.open = open_terminals,
	.plant = plant_terminals,
	.plant_freed = free_terminals,
	.verify = verify_terminals,
};
