package janitor

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"io/fs"
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
