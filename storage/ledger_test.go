package storage

import (
	"log/slog"
	"maps"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/record"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// putBlobOf stores a blob that an upstream has brought in.
func putBlobOf(t testing.TB, s *Store, upstream string, b []byte) {
	t.Helper()
	putBlobIn(t, s, oci.Scope{Upstream: upstream, Repository: "r"}, b)
}

func wantUpstreams(t testing.TB, s *Store, want map[string]int64) {
	t.Helper()
	if got := s.Usage().Upstreams; !maps.Equal(got, want) {
		t.Errorf("upstreams hold %v, want %v", got, want)
	}
}

// A blob counts to who brought it in first, whatever the rest of the identity,
// and whatever happens to it later.
func TestBytesByUpstream(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	for k, upstream := range []string{"docker.io", "ghcr.io", "docker.io#0123", "docker.io"} {
		b, _ := content(uint64(k), 1000)
		putBlobOf(t, s, upstream, b)
	}
	first, d := content(0, 1000)
	putBlobOf(t, s, "ghcr.io", first)
	want := map[string]int64{"docker.io": 3000, "ghcr.io": 1000}
	wantUpstreams(t, s, want)
	s = reopen(t, s)
	for !s.Usage().Counted {
		time.Sleep(time.Millisecond)
	}
	wantUpstreams(t, s, want)
	if err := s.VerifyBlob(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	i, err := volume.IDOf(d)
	if err != nil {
		t.Fatal(err)
	}
	s.judge.Drop(i)
	settle(t, s)
	readBlob(t, s, d) // adopted
	wantUpstreams(t, s, map[string]int64{"docker.io": 2000, "ghcr.io": 1000, "": 1000})
}

// Records from before there were origins are as good as ever.
func TestBlobRecordWithoutOrigin(t *testing.T) {
	t.Parallel()
	log := newMessages()
	s := openTest(t, Options{Logger: slog.New(log)})
	b, d := content(1, 1000)
	putBlob(t, s, b)
	i, err := volume.IDOf(d)
	if err != nil {
		t.Fatal(err)
	}
	old := record.Seal(record.AppendTime(record.AppendInt(record.Begin(16), 1000), time.Unix(1_700_000_000, 0)))
	if err := s.index.Update(0, func(b *index.Batch) error { return b.Set(index.TableKey(index.TableBlob, i), old) }); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s)
	if r, known := s.index.Blob(i); !known || r != (index.Blob{Size: 1000, Created: time.Unix(1_700_000_000, 0)}) {
		t.Errorf("record is %+v, %v", r, known)
	}
	if got := readBlob(t, s, d); string(got) != string(b) {
		t.Error("blob was lost")
	}
}
