package fleet_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/fleet"
)

// careless is a bucket that does less than others.
type careless struct {
	*memory

	overwrites, unread, believes, silent bool
	tidied                               string
}

func (c *careless) Get(ctx context.Context, key string, offset, length int64) (bucket.Object, error) {
	switch {
	case c.silent:
		<-ctx.Done()
		return bucket.Object{}, ctx.Err()
	case c.unread:
		return bucket.Object{}, errors.New("the secret key is wrong")
	}
	return c.memory.Get(ctx, key, offset, length)
}

func (c *careless) Put(ctx context.Context, key string, content io.ReadSeeker, size int64, o bucket.PutOptions) error {
	o.IfAbsent = o.IfAbsent && !c.overwrites
	if c.believes {
		o.SHA256 = ""
	}
	return c.memory.Put(ctx, key, content, size, o)
}

func (c *careless) Tidy(_ context.Context, prefix string) error {
	c.tidied = prefix
	return nil
}

// What a bucket does not do is told once, at the start, with what it means; nobody waits
// for that, and nothing stays of it.
func TestBucketIsTriedAtTheStart(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]*careless{
		"":                      {},
		"overwrites what is to": {overwrites: true},
		"do not match their hash: what goes wrong on the way": {believes: true},
		"pulls go on without it: the secret key is wrong":     {unread: true},
		"go on without it: the bucket is silent for too long": {silent: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			c.memory = newMemory()
			f := fleet.New(fleet.Options{Records: noRecords{}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			f.Use("careless", c) // which does not wait, or the bubble would not go on
			synctest.Wait()
			if c.silent {
				time.Sleep(40 * time.Second) // less than until the first comparison
			}
			f.Close()
			lines := strings.Count(log.String(), "\n")
			if !strings.Contains(log.String(), want) || (want == "") != (lines == 0) || lines > 1 {
				t.Errorf("want %q, got\n%s", want, &log)
			}
			if c.mu.Lock(); len(c.objects) > 0 {
				t.Errorf("there are %v", c.objects)
			}
			c.mu.Unlock()
			if tidy := want == ""; tidy != (c.tidied == "v1/b/") {
				t.Errorf("%s: it tidies up %q", want, c.tidied)
			}
		})
	}
}
