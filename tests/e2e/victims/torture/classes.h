/* Every class of secrets, by chapter: CLASS(ID, "words"). No include guard: read more than once. */
#include "classes/pipes.h"
#include "classes/terminals.h"
#include "classes/files.h"
#include "classes/shared.h"
#include "classes/sockets.h"
#include "classes/rings.h"
#include "classes/kernel.h"
