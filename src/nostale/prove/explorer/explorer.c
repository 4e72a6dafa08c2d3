/*
 * The explorer: everything that is the same for each system of WORDS words a state and LANE_WORDS words of lanes,
 * SYMMETRIC or not. One unit, so that the compiler sees through the parts.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "system.h"

#define TOGETHER 16                           /* states expanded before their successors are looked up */
#define BROKEN_RANGE (1ull << OUT_OF_RANGE)

#include "store.c"
#include "symmetry.c"
#include "search.c"
#include "ways.c"
#include "main.c"
