/*
 * keeper MODULE: has a session and its key ring to itself, loads a module that puts keys into it,
 * and goes on living.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int count, char **arguments)
{
	int file;

	if (count != 2)
		return 2;
	file = open(arguments[1], O_RDONLY);
	if (file < 0 || syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 ||
	    syscall(SYS_finit_module, file, "", 0)) {
		perror(arguments[1]);
		return 1;
	}
	close(file);
	for (;;)
		pause();
}
