package testenv

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"testing"
)

// PeakMemory runs f and returns by how many bytes the resident memory of the process
// has exceeded at its peak what it was before. Nothing else may run meanwhile: no
// parallel test. Where the kernel does not tell, or the race detector takes memory of
// its own, the test is skipped.
func PeakMemory(t testing.TB, f func()) int64 {
	t.Helper()
	if raceDetector {
		t.Skip("the race detector takes memory of its own")
	}
	debug.FreeOSMemory()
	// 5 makes the peak what is resident now.
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o600); err != nil {
		t.Skipf("the peak of memory cannot be measured: %v", err)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(100)) // as people run it, whatever tests run with
	before := residentPeak(t)
	f()
	return residentPeak(t) - before
}

func residentPeak(t testing.TB) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skipf("the peak of memory cannot be measured: %v", err)
	}
	_, line, _ := strings.Cut(string(status), "VmHWM:")
	var kilobytes int64
	if _, err := fmt.Sscan(line, &kilobytes); err != nil {
		t.Skipf("the peak of memory cannot be measured: %v", err)
	}
	return kilobytes << 10
}
