package fleet_test

import (
	"bytes"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// Whatever the bucket does, a miss takes 0.6 s longer at the most until it is not asked any
// more, or 2 s where it stops in the middle, and then nothing. What it does to writes costs
// a pull nothing at all.
func TestEveryFaultCostsLittle(t *testing.T) {
	t.Parallel()
	for _, f := range faults() {
		for name, at := range map[string]struct{ read, write fault }{"read": {read: f}, "write": {write: f}} {
			t.Run(f.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { testCost(t, f, at.read, at.write) })
			})
		}
	}
}

func testCost(t *testing.T, f, read, write fault) {
	m := newMemory()
	u, r, gateway := lone(t, m)
	defer gateway.Close()
	var known []oci.Reference
	for n := range 12 {
		known = append(known, oci.Reference{Digest: share(t, m, n)})
	}
	m.fail(read, write)
	most := 600 * time.Millisecond
	if f.name == "silence" {
		most += 2 * time.Second
	}
	closes := slices.Contains([]string{"412", "list lag", "wrong bytes"}, f.name) || read.name == ""
	for n, ref := range known {
		d := ref.Digest
		referrers := storage.Referrers{Descriptors: []oci.Descriptor{{Digest: d}}} // something to upload
		if err := gateway.Records().PutReferrers(t.Context(), own, d, referrers); err != nil {
			t.Fatal(err)
		}
		for what, ask := range map[string]func() error{
			"blob": func() error {
				_, shared := get(t, r, d)
				if read.name == "" && shared == "" {
					t.Errorf("it is read on, and %s does not come from there", d)
				}
				return nil
			},
			"size":     func() error { _, err := r.HeadBlob(t.Context(), repository, d); return err },
			"manifest": func() error { _, err := r.Manifest(t.Context(), repository, ref); return err },
			"tag": func() error {
				_, _, err := r.Resolve(t.Context(), repository, oci.Reference{Tag: "3"}, nil)
				return err
			},
		} {
			began := time.Now()
			err := ask()
			if took := time.Since(began); err != nil || took > most || (closes || n > 3) && took > 0 {
				t.Errorf("%s %d: %v, after %v", what, n, err, took)
			}
		}
	}
	if !closes && gateway.Status().ReadError == "" {
		t.Errorf("it is asked on: %+v", gateway.Status())
	}
	if !closes && u.asked < len(known) {
		t.Errorf("the upstream was asked %d times", u.asked)
	}
}

// A bucket that answers, and then sends nothing, is not asked any more after three blobs.
func TestSilentBucketIsNotAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		_, r, gateway := lone(t, m)
		defer gateway.Close()
		silence := faults()[slices.IndexFunc(faults(), func(f fault) bool { return f.name == "silence" })]
		for n := range 5 {
			d := share(t, m, n)
			m.fail(silence, fault{})
			body, err := r.Blob(t.Context(), repository, d, 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			raw, err := io.ReadAll(body)
			_ = body.Close()
			took, want := time.Since(began), 2*time.Second
			if n >= 3 {
				want = 0
			}
			if took != want || (err == nil) != (want == 0) || err == nil && !bytes.Equal(raw, content) {
				t.Errorf("blob %d: %v, after %v", n, err, took)
			}
			m.fail(fault{}, fault{})
		}
	})
}
