// sdops lab fake: something for a compiler to do
#include <cstring>

extern "C" int part_4(const char *text) { return static_cast<int>(std::strlen(text)) % 5; }
