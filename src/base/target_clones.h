#pragma once

// One body, compiled for several processors and chosen when the program starts. Sanitizers cannot run the resolvers,
// which are called before their own start-up.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define BERTDIST_TARGET_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define BERTDIST_TARGET_CLONES
#endif
