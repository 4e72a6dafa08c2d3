/* Run a command and write what it took to a file: a small parent, because a child's peak memory counts from its fork. */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct rusage used;
	int status;
	pid_t child = argc > 2 ? fork() : -1;

	if (child < 0)
		return 125;
	if (!child) {
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	wait4(child, &status, 0, &used);
	FILE *to = fopen(argv[1], "w");

	if (!to)
		return 125;
	fprintf(to, "%ld.%06ld %ld.%06ld %ld\n", used.ru_utime.tv_sec, used.ru_utime.tv_usec, used.ru_stime.tv_sec,
		used.ru_stime.tv_usec, used.ru_maxrss);
	fclose(to);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 126;
}
