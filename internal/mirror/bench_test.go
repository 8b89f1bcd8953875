package mirror_test

import (
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/pullgate/pullgate/internal/registrytest"
)

func BenchmarkManifestHit(b *testing.B) {
	f := newFixture(b)
	image := f.upstream.PutImage(repository, "3", 1, 1000)
	for name, r := range map[string]string{"tag": "3", "digest": image.Index.Digest.String()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := f.mirror.Manifest(b.Context(), manifestRequest(r)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkBlobHit(b *testing.B) {
	f := newFixture(b)
	r := blobRequest(f.upstream.PutBlob(repository, registrytest.Random(1, 2*mib)))
	if _, _, err := f.pull(b.Context(), r); err != nil {
		b.Fatal(err)
	}
	f.filled()
	b.ReportAllocs()
	for b.Loop() {
		blob, _, err := f.mirror.Blob(b.Context(), r)
		if err != nil {
			b.Fatal(err)
		}
		_ = blob.Content.Close()
	}
}

func benchmarkCold(b *testing.B, readers int) {
	const size = 64 * mib
	f := newFixture(b)
	content := registrytest.Random(1, size)
	b.SetBytes(int64(size * readers))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		content[0], content[1] = byte(i), byte(i>>8)
		r := blobRequest(f.upstream.PutBlob(repository, content))
		var wait sync.WaitGroup
		for range readers {
			wait.Go(func() {
				blob, _, err := f.mirror.Blob(b.Context(), r)
				if err != nil {
					b.Error(err)
					return
				}
				defer blob.Content.Close()
				// As the wire copies: a buffer, and no short cuts.
				buffer := make([]byte, 128<<10)
				for err == nil {
					_, err = blob.Content.Read(buffer)
				}
				if !errors.Is(err, io.EOF) {
					b.Error(err)
				}
			})
		}
		wait.Wait()
		f.filled()
	}
}

func BenchmarkColdFill(b *testing.B) { benchmarkCold(b, 1) }

func BenchmarkJoinedReaders20(b *testing.B) { benchmarkCold(b, 20) }
