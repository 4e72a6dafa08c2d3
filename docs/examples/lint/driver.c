/* Two functions that open a window: one closes it on every path, the other forgets one. */
void begin_access(void);
void end_access(void);
int copy(void *to, const void *from);

int store(void *to, const void *from)
{
	int error;

	begin_access();
	error = copy(to, from);
	end_access();
	return error;
}

int store_twice(void *to, const void *from)
{
	begin_access();
	if (copy(to, from))
		return -14; /* the window is still open */
	copy(to, from);
	end_access();
	return 0;
}
