package janitor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	objects "github.com/pullgate/pullgate/internal/bucket"
)

// reported is a bucket with a report; nil = without.
type reported struct {
	objects.Objects

	report *Report
}

func (r reported) Get(context.Context, string, int64, int64) (objects.Object, error) {
	if r.report == nil {
		return objects.Object{}, fs.ErrNotExist
	}
	raw, err := json.Marshal(r.report)
	return objects.Object{ReadCloser: io.NopCloser(bytes.NewReader(raw))}, err
}

// Of gateways that know each other one cleans, and others where it does not.
func TestWhoCleans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		ago := func(d time.Duration) time.Time { return now.Add(-d) }
		for name, c := range map[string]struct {
			report      *Report
			mine, other bool
		}{
			"never":                    {nil, true, false},
			"just now":                 {&Report{Begun: ago(2 * time.Hour), Ended: ago(time.Hour)}, false, false},
			"a while ago":              {&Report{Begun: ago(8 * time.Hour), Ended: ago(7 * time.Hour)}, true, false},
			"for too long":             {&Report{Begun: ago(14 * time.Hour), Ended: ago(13 * time.Hour)}, true, true},
			"begun, and still at it":   {&Report{Begun: ago(30 * time.Minute)}, false, false},
			"begun, and not done":      {&Report{Begun: ago(90 * time.Minute)}, true, false},
			"begun, and given up, too": {&Report{Begun: ago(3 * time.Hour)}, true, true},
		} {
			for mine, want := range map[bool]bool{true: c.mine, false: c.other} {
				j, _ := New(Options{Objects: reported{report: c.report}, Limits: func() Limits { return Limits{} }, Mine: func() bool { return mine }})
				if due, err := j.due(t.Context()); err != nil || due != want {
					t.Errorf("%s, mine %v: %v, %v", name, mine, due, err)
				}
				if seen := j.Status().Report; (seen != nil) != (c.report != nil && !c.report.Ended.IsZero()) {
					t.Errorf("%s, mine %v: it has seen %v", name, mine, seen)
				}
			}
		}
	})
}

// full is a bucket with a report that others change, and which takes nothing.
type full struct {
	objects.Objects

	report atomic.Pointer[Report]
}

func (f *full) Get(ctx context.Context, key string, offset, length int64) (objects.Object, error) {
	return reported{report: f.report.Load()}.Get(ctx, key, offset, length)
}

func (f *full) Put(context.Context, string, io.ReadSeeker, int64, objects.PutOptions) error {
	return errors.New("it is full")
}

// What is in the bucket is known from the start, and why it was not cleaned until it is.
func TestWhatIsKnownOfCleaning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b := new(full)
		b.report.Store(&Report{Begun: time.Now().Add(-8 * time.Hour), Ended: time.Now().Add(-7 * time.Hour), Blobs: 7})
		j, _ := New(Options{
			Objects: b, Limits: func() Limits { return Limits{} }, Well: func() bool { return true }, Survive: func(string) {}, Log: slog.New(slog.DiscardHandler),
		})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			j.Run(ctx)
		}()
		synctest.Wait()
		if s := j.Status(); s.Report == nil || s.Report.Blobs != 7 || s.CleanError != "" {
			t.Errorf("at the start, it knows %+v", s)
		}
		time.Sleep(cleanLook)
		synctest.Wait()
		if s := j.Status(); s.CleanError != "it is full" || s.CleanFailed.IsZero() {
			t.Errorf("it could not be cleaned, and it tells %+v", s)
		}
		b.report.Store(&Report{Begun: time.Now().Add(time.Second), Ended: time.Now().Add(time.Minute)}) // by another gateway
		time.Sleep(cleanLook)
		synctest.Wait()
		if s := j.Status(); s.CleanError != "" {
			t.Errorf("it was cleaned, and it tells %+v", s)
		}
		cancel()
		<-ended
	})
}
