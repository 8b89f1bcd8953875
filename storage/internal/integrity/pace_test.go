package integrity

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	p := PaceOf(1 << 20)
	began := time.Now()
	for range 5 {
		if err := p.wait(t.Context(), 64<<10); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took < 240*time.Millisecond {
		t.Errorf("256 KiB at 1 MiB/s took %v", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.wait(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled wait: %v", err)
	}
}
