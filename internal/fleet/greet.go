package fleet

import (
	"context"
	"crypto/rand"
	"strings"

	"github.com/pullgate/pullgate/internal/fleet/trial"
)

// tidier is a bucket in which uploads can be left half done.
type tidier interface {
	// Tidy gives up those that nobody goes on with.
	Tidy(ctx context.Context, prefix string) error
}

// greet tells the log at once what the bucket does not do, such as with wrong keys: once,
// and with what it means. Nobody waits for that.
func (d *depot) greet() {
	ctx, cancel := context.WithTimeout(d.ctx, writeBudget)
	defer cancel()
	found := trial.Findings(ctx, d.objects, d.look, probeAt+"-"+rand.Text())
	if d.ctx.Err() == nil && len(found) > 0 {
		d.log.Warn("the bucket does not do all that is asked of it", "what", strings.Join(found, "; "))
	}
	if t, ok := d.objects.(tidier); ok && len(found) == 0 {
		if err := t.Tidy(ctx, blobsAt); err != nil && d.ctx.Err() == nil {
			d.log.Info("uploads that nobody goes on with stay in the bucket", "error", err)
		}
	}
}
