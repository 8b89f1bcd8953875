package janitor

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	objects "github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/oci"
)

// written is a bucket that takes lists of uses, unless it fails.
type written struct {
	objects.Objects

	lists map[string][]byte
	err   error
}

func (w *written) Put(_ context.Context, key string, content io.ReadSeeker, _ int64, _ objects.PutOptions) error {
	raw, err := io.ReadAll(content)
	if w.err == nil {
		w.lists[key] = raw
	}
	return errors.Join(err, w.err)
}

func idsOf(ds ...digest.Digest) (raw []byte) {
	var ids []useID
	for _, d := range ds {
		id, _ := useOf(d.String())
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		raw = binary.BigEndian.AppendUint64(raw, uint64(id))
	}
	return raw
}

// What is used is written by the hour: the image with its manifest, each once, and again
// what a bucket that failed has not taken.
func TestUses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		manifest, index, blob, layer := oci.Sum([]byte("manifest")), oci.Sum([]byte("index")), oci.Sum([]byte("blob")), oci.Sum([]byte("layer"))
		w := &written{lists: map[string][]byte{}}
		_, u := New(Options{
			Objects: w, In: Folders{Uses: "u/"}, Survive: func(string) {}, Log: slog.New(slog.DiscardHandler),
			Contents: func(_ context.Context, d digest.Digest) (c oci.Contents, err error) {
				switch d {
				case manifest:
					c.Blobs = []oci.Descriptor{{Digest: layer}}
				case index:
					c.Manifests, c.Blobs = []oci.Descriptor{{Digest: manifest}}, []oci.Descriptor{{Digest: blob}}
				default:
					err = errors.New("there is none")
				}
				return c, err
			},
		})
		first := hourName(hourOf(time.Now())) + "id"
		u.Note(manifest, true)
		u.Note(index, true)
		w.err = errors.New("it is full")
		u.Write(t.Context(), "id")
		w.err = nil
		u.Write(t.Context(), "id")
		if want := idsOf(manifest, index, layer); !bytes.Equal(w.lists["u/"+first], want) {
			t.Errorf("%x, want %x", w.lists, want)
		}
		clear(w.lists)
		u.Note(manifest, true)
		u.Write(t.Context(), "id")
		if len(w.lists) > 0 {
			t.Errorf("%x is written again", w.lists)
		}
		u.Note(blob, false)
		time.Sleep(time.Hour)
		u.Note(layer, false)
		u.Note("nothing", false)
		u.Write(t.Context(), "id")
		second := hourName(hourOf(time.Now())) + "id"
		if len(w.lists) != 2 || !bytes.Equal(w.lists["u/"+first], idsOf(manifest, index, layer, blob)) || !bytes.Equal(w.lists["u/"+second], idsOf(layer)) {
			t.Errorf("%x", w.lists)
		}
		if len(u.hours) != 1 {
			t.Errorf("%d hours are remembered", len(u.hours))
		}
	})
}

// endless is a bucket with many blobs, and as many proofs.
type endless struct {
	objects.Objects

	blobs int
	most  uint64 // the most memory that was in use
}

func (e *endless) List(_ context.Context, prefix, _ string) iter.Seq2[objects.Info, error] {
	return func(yield func(objects.Info, error) bool) {
		if prefix != "b/" && prefix != "l/" {
			return
		}
		for n := range e.blobs {
			if n%(e.blobs/8) == 0 {
				e.most = max(e.most, inUse())
			}
			if !yield(objects.Info{Key: fmt.Sprintf("%s%016x%048x", prefix, uint64(n)*0x9e3779b97f4a7c15, n), Size: 1 << 20, Modified: time.Unix(int64(n), 0)}, nil) {
				return
			}
		}
	}
}

func (e *endless) Get(context.Context, string, int64, int64) (o objects.Object, err error) {
	return o, fmt.Errorf("there is none: %w", fs.ErrNotExist)
}

func (e *endless) Put(context.Context, string, io.ReadSeeker, int64, objects.PutOptions) error {
	return nil
}

func (e *endless) Delete(context.Context, string) error { return nil }

func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A cleaning takes no more than 100 bytes of memory for each blob. PULLGATE_LONG makes it
// a million.
func TestCleaningTakesLittleMemory(t *testing.T) {
	blobs := 50_000
	if os.Getenv("PULLGATE_LONG") != "" {
		blobs = 1_000_000
	}
	e := &endless{blobs: blobs}
	j, _ := New(Options{
		Objects: e, In: Folders{Blobs: "b/", Manifests: "m/", Proofs: "l/", Purges: "x/", Uses: "u/", Base: "u/base", Report: "report"},
		Limits: func() Limits { return Limits{MaxSize: int64(blobs/2) << 20} },
		Pinned: func(context.Context) (map[digest.Digest]bool, error) { return nil, nil },
		Gone:   func(string) {}, Log: slog.New(slog.DiscardHandler),
	})
	before := inUse()
	if err := j.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes for each of %d blobs", (e.most-before)/uint64(blobs), blobs)
	if most := uint64(100 * blobs); e.most-before > most {
		t.Errorf("it takes %d bytes", e.most-before)
	}
	if r := j.Status().Report; r.Removed < int64(blobs/2) || r.Blobs+r.Removed != int64(blobs) {
		t.Errorf("%+v", r)
	}
}
