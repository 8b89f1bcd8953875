#include "textflag.h"

// func handler() uintptr
TEXT ·handler(SB), NOSPLIT, $0-8
	LEAQ	·handle(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

// The kernel calls it with signal, siginfo and context in DI, SI and DX, and
// restores every register when it returns.
//
// func handle()
TEXT ·handle(SB), NOSPLIT|NOFRAME, $0
	CMPL	8(SI), $2		// si_code: BUS_ADRERR, no page for this address
	JNE	pass
	MOVQ	DI, R12
	MOVQ	SI, R13
	MOVQ	DX, R14
	MOVQ	16(SI), DI		// si_addr
	MOVQ	·page(SB), SI
	MOVQ	SI, AX
	NEGQ	AX
	ANDQ	AX, DI
	MOVQ	$3, DX			// PROT_READ|PROT_WRITE
	MOVQ	$0x32, R10		// MAP_PRIVATE|MAP_FIXED|MAP_ANONYMOUS
	MOVQ	$-1, R8
	XORQ	R9, R9
	MOVQ	$9, AX			// mmap
	SYSCALL
	CMPQ	AX, $-4096
	JHI	failed
	MOVQ	$1, AX
	LOCK
	XADDQ	AX, ·faults(SB)
	RET
failed:
	MOVQ	R12, DI
	MOVQ	R13, SI
	MOVQ	R14, DX
pass:
	MOVQ	·previous(SB), AX
	JMP	AX
