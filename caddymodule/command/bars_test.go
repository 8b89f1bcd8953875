package command

import (
	"bytes"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/imagelist"
	"github.com/pullgate/pullgate/internal/terminal"
)

func TestPreloadOutput(t *testing.T) {
	a := imagelist.Image{Upstream: "docker.io", Repository: "library/alpine", Tag: "3"}
	long := imagelist.Image{Upstream: "factory.talos.dev", Repository: "metal-installer/376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba", Tag: "v1"}
	var b bytes.Buffer
	now := time.Unix(1_000, 0)
	o := &terminal.Progress{To: &b, InPlace: true, Now: func() time.Time { return now }}
	o.Begin()
	now = now.Add(2 * time.Second)
	showPreload(o, image.PreloadProgress{Images: 1, Failed: 1, Total: 4, Bytes: 3 << 20, Known: 1, Present: 3 << 20, Size: 6 << 20, Running: []image.Running{
		{Image: a, Bytes: 3 << 20, Size: 6 << 20}, {Image: long},
	}})
	sayPulled(o, image.Pulled{Image: a, Blobs: 2, Size: 6 << 20, Bytes: 6 << 20, Seconds: 1.234})
	sayPulled(o, image.Pulled{Image: a, Blobs: 2, Size: 6 << 20, Bytes: 2 << 20, Seconds: 0.0073})
	sayPulled(o, image.Pulled{Image: a, Blobs: 2, Size: 6 << 20, Bytes: 1, Seconds: 1e-6})
	sayPulled(o, image.Pulled{Image: a, Blobs: 2, Size: 6 << 20, Stale: "timeout"})
	sayPulled(o, image.Pulled{Image: a})
	sayPulled(o, image.Pulled{Image: a, Error: "\x1b[31mno"})
	want := "\x1b[?7l" +
		"[========        ] docker.io/library/alpine:3           3.0 MiB of 6.0 MiB\n" +
		"[                ] ..." + long.String()[len(long.String())-33:] + " reading manifests\n" +
		"[====            ] total: 1 of 4 images, 1 failed, 3.0 MiB of about 18 MiB, 1.5 MiB/s, about 10s left\n\x1b[?7h" +
		"\x1b[3A\r\x1b[J" +
		"docker.io/library/alpine:3: pulled, 6.0 MiB in 1.2s\n" +
		"docker.io/library/alpine:3: pulled, 2.0 MiB in 7ms, and 4.0 MiB were there\n" +
		"docker.io/library/alpine:3: pulled, 1 B in 1ms, and 6.0 MiB were there\n" +
		"docker.io/library/alpine:3: is cached (its tag as it was known: timeout), 6.0 MiB\n" +
		"docker.io/library/alpine:3: has nothing that was asked for\n" +
		`"docker.io/library/alpine:3: failed: \x1b[31mno"` + "\n"
	if got := b.String(); got != want {
		t.Errorf("output is\n%q, want\n%q", got, want)
	}
	if n := len(fixed(long.String())); n != preloadName {
		t.Errorf("name has %d characters", n)
	}
}

func TestPreloadLine(t *testing.T) {
	for want, p := range map[string]image.PreloadProgress{
		"0 of 2 images, 0 B, 0 B/s":                                         {Total: 2},
		"1 of 1 image, 6.0 MiB of 6.0 MiB, 0 B/s":                           {Images: 1, Total: 1, Known: 1, Present: 6 << 20, Size: 6 << 20}, // they were there
		"1 of 2 images, 6.0 MiB of 10 MiB, 1.0 MiB/s, 4s left":              {Images: 1, Total: 2, Known: 2, Bytes: 2 << 20, Present: 6 << 20, Size: 10 << 20},
		"1 of 2 images, 1 failed, 2.0 MiB of 10 MiB, 1.0 MiB/s, 8s left":    {Images: 1, Failed: 1, Total: 2, Known: 1, Bytes: 2 << 20, Present: 2 << 20, Size: 10 << 20},
		"1 of 3 images, 4.0 MiB of about 30 MiB, 2.0 MiB/s, about 13s left": {Images: 1, Total: 3, Known: 2, Bytes: 4 << 20, Present: 4 << 20, Size: 20 << 20},
	} {
		if got := preloadLine(p, 2*time.Second); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
