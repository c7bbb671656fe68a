/* Start-up: the smallest static program that prints. */
#include <stdio.h>

int main(void)
{
    puts("hello");
    return 0;
}
