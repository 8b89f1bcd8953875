package mirror_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/pullgate/pullgate/internal/registrytest"
)

func TestReadHonoursItsContext(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d := f.upstream.PutBlob(repository, registrytest.Random(1, 8*mib))
	reached, open := make(chan struct{}), make(chan struct{})
	f.upstream.Hook(gated(4*mib, func() { close(reached) }, open))
	ctx, leave := context.WithCancel(t.Context())
	b, _, err := f.mirror.Blob(ctx, blobRequest(d))
	if err != nil {
		t.Fatal(err)
	}
	<-reached
	if _, err := io.CopyN(io.Discard, b.Content, 4*mib-64<<10); err != nil {
		t.Fatal(err)
	}
	leave()
	if _, err := io.Copy(io.Discard, b.Content); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	_ = b.Content.Close()
	close(open)
	if e := f.filled(); !e.Stored {
		t.Errorf("the fill went with its reader: %+v", e)
	}
}

func TestSeek(t *testing.T) { inBothModes(t, testSeek) }

func testSeek(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	want := registrytest.Random(1, 3*mib)
	d := f.upstream.PutBlob(repository, want)
	b, _, err := f.mirror.Blob(t.Context(), blobRequest(d))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Content.Close()
	for _, s := range []struct {
		offset int64
		whence int
		want   int64
	}{{0, io.SeekEnd, 3 * mib}, {0, io.SeekStart, 0}, {mib, io.SeekStart, mib}, {5, io.SeekCurrent, mib + 6}, {-1, io.SeekEnd, 3*mib - 1}} {
		got, err := b.Content.Seek(s.offset, s.whence)
		if err != nil || got != s.want {
			t.Errorf("seek %+v: %d, %v", s, got, err)
		}
		one := make([]byte, 1)
		n, err := b.Content.Read(one)
		if s.want == 3*mib {
			if n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("read at the end: %d, %v", n, err)
			}
		} else if n != 1 || err != nil || one[0] != want[s.want] {
			t.Errorf("read at %d: %d, %v", s.want, n, err)
		}
	}
	if _, err := b.Content.Seek(-1, io.SeekStart); err == nil {
		t.Error("a seek before the start is no error")
	}
}
