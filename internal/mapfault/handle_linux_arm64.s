#include "textflag.h"

// func handler() uintptr
TEXT ·handler(SB), NOSPLIT, $0-8
	MOVD	$·handle(SB), R0
	MOVD	R0, ret+0(FP)
	RET

// The kernel calls it with signal, siginfo and context in R0, R1 and R2, and
// restores every register when it returns.
//
// func handle()
TEXT ·handle(SB), NOSPLIT|NOFRAME, $0
	MOVWU	8(R1), R3		// si_code
	CMPW	$2, R3			// BUS_ADRERR, no page for this address
	BNE	pass
	MOVD	R0, R9
	MOVD	R1, R10
	MOVD	R2, R11
	MOVD	·page(SB), R12
	MOVD	16(R1), R0		// si_addr
	SUB	$1, R12, R13
	BIC	R13, R0, R0
	MOVD	R12, R1
	MOVD	$3, R2			// PROT_READ|PROT_WRITE
	MOVD	$0x32, R3		// MAP_PRIVATE|MAP_FIXED|MAP_ANONYMOUS
	MOVD	$-1, R4
	MOVD	$0, R5
	MOVD	$222, R8		// mmap
	SVC
	CMN	$4096, R0
	BHI	failed
	MOVD	$·faults(SB), R3
again:
	LDAXR	(R3), R4
	ADD	$1, R4
	STLXR	R4, (R3), R5
	CBNZ	R5, again
	RET
failed:
	MOVD	R9, R0
	MOVD	R10, R1
	MOVD	R11, R2
pass:
	MOVD	·previous(SB), R3
	JMP	(R3)
