package fleet

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/pullgate/pullgate/internal/bucket"
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
	found := d.findings(ctx)
	if d.ctx.Err() == nil && len(found) > 0 {
		d.log.Warn("the bucket does not do all that is asked of it", "what", strings.Join(found, "; "))
	}
	if t, ok := d.objects.(tidier); ok && len(found) == 0 {
		if err := t.Tidy(ctx, blobsAt); err != nil && d.ctx.Err() == nil {
			d.log.Info("uploads that nobody goes on with stay in the bucket", "error", err)
		}
	}
}

// findings are what the bucket does not do, and what that means.
func (d *depot) findings(ctx context.Context) (found []string) {
	err := d.look(ctx)
	if err != nil && ctx.Err() != nil {
		err = errSilent
	}
	if err != nil {
		return append(found, fmt.Sprintf("it cannot be read: pulls go on without it: %v", err))
	}
	key := probeAt + "-" + rand.Text()
	defer func() { _ = d.objects.Delete(ctx, key) }()
	written, err := d.race(ctx, key)
	switch {
	case err != nil:
		return append(found, fmt.Sprintf("it cannot be written: what is pulled stays with this gateway: %v", err))
	case written > 1:
		found = append(found, "it overwrites what is to be written only if absent: the older of two answers about a tag may stay there, as a spare")
	}
	err = d.probe(ctx, key, bucket.PutOptions{SHA256: hex.EncodeToString(sha256.New().Sum(nil))})
	if err == nil {
		found = append(found, "it stores bytes that do not match their hash: what goes wrong on the way there is found only when it is read")
	}
	return found
}

// race writes one object twice at a time where there is none, and returns how often it was
// written.
func (d *depot) race(ctx context.Context, key string) (written int, err error) {
	outcomes := make(chan error, 2)
	for range cap(outcomes) {
		go func() { outcomes <- d.probe(ctx, key, bucket.PutOptions{IfAbsent: true}) }()
	}
	for range cap(outcomes) {
		switch outcome := <-outcomes; {
		case outcome == nil:
			written++
		case !errors.Is(outcome, bucket.ErrChanged):
			err = outcome
		}
	}
	return written, err
}

func (d *depot) probe(ctx context.Context, key string, o bucket.PutOptions) error {
	content := []byte("probe")
	return d.objects.Put(ctx, key, bytes.NewReader(content), int64(len(content)), o)
}
