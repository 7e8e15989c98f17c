// The compiled BPF programs as bpftool wrote them, kept out of our warnings.
#pragma once

#pragma GCC system_header

#include "gate.skel.h"
#include "identity.skel.h"
