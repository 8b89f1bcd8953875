//go:build fleet

package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/bucket/s3client"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

var noOptions bucket.PutOptions

func content(o bucket.Object, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer o.Close()
	raw, err := io.ReadAll(o)
	return string(raw), err
}

// What package bucket says of a bucket is so on a real server.
func TestBucket(t *testing.T) {
	shared := newS3(t).run()
	b, ctx := shared.open(), t.Context()
	put := func(key, text string, o bucket.PutOptions) error {
		return b.Put(ctx, key, strings.NewReader(text), int64(len(text)), o)
	}
	for _, err := range []error{
		func() error { _, err := b.Head(ctx, "none"); return err }(),
		func() error { _, err := b.Get(ctx, "none", 0, -1); return err }(),
	} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("none: %v", err)
		}
	}
	if err := b.Delete(ctx, "none"); err != nil {
		t.Errorf("delete none: %v", err)
	}
	o := bucket.PutOptions{ContentType: "application/json", Meta: map[string]string{"size": "7"}, IfAbsent: true, SHA256: oci.Sum([]byte("content")).Encoded()}
	if err := put("a/b", "content", o); err != nil {
		t.Fatal(err)
	}
	if err := put("a/b", "content", o); !errors.Is(err, bucket.ErrChanged) {
		t.Errorf("it is there: %v", err)
	}
	info, err := b.Head(ctx, "a/b")
	if err != nil || info.Size != 7 || info.ContentType != "application/json" || info.Meta["size"] != "7" || info.ETag == "" || info.Modified.IsZero() {
		t.Errorf("%+v, %v", info, err)
	}
	if err := put("a/b", "other", bucket.PutOptions{IfMatch: `"none"`}); !errors.Is(err, bucket.ErrChanged) {
		t.Errorf("it is another: %v", err)
	}
	if err := put("a/b", "changed", bucket.PutOptions{IfMatch: info.ETag}); err != nil {
		t.Error(err)
	}
	for _, part := range []struct {
		offset, length int64
		want           string
	}{{0, -1, "changed"}, {2, -1, "anged"}, {2, 3, "ang"}, {0, 100, "changed"}} {
		object, err := b.Get(ctx, "a/b", part.offset, part.length)
		if got, err := content(object, err); err != nil || got != part.want || object.Size != 7 || object.Offset != part.offset {
			t.Errorf("%d+%d: %q of %d at %d, %v", part.offset, part.length, got, object.Size, object.Offset, err)
		}
	}
	if _, err := b.Get(ctx, "a/b", 100, -1); !errors.Is(err, bucket.ErrChanged) {
		t.Errorf("beyond the end: %v", err)
	}
	// Bytes that do not match their hash are refused, over http too.
	if err := put("wrong", "bytes", bucket.PutOptions{SHA256: oci.Sum([]byte("right")).Encoded()}); err == nil || errors.Is(err, bucket.ErrChanged) {
		t.Errorf("wrong bytes: %v", err)
	}
	if _, err := b.Head(ctx, "wrong"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("wrong bytes were stored: %v", err)
	}
	if err := b.Put(ctx, "empty", bytes.NewReader(nil), 0, noOptions); err != nil {
		t.Error(err)
	}
}

// Lists are whole and in order, however long.
func TestList(t *testing.T) {
	b := newS3(t).run().open()
	var want []string
	for n := range 1100 {
		want = append(want, fmt.Sprintf("l/%04d", n))
		if err := b.Put(t.Context(), want[n], bytes.NewReader(nil), 0, noOptions); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Put(t.Context(), "m/other", bytes.NewReader(nil), 0, noOptions); err != nil {
		t.Fatal(err)
	}
	for from, after := range map[int]string{0: "", 501: want[500]} {
		n := from
		for o, err := range b.List(t.Context(), "l/", after) {
			if err != nil || n >= len(want) || o.Key != want[n] {
				t.Fatalf("object %d is %+v, %v", n, o, err)
			}
			n++
		}
		if n != len(want) {
			t.Errorf("%d objects after %q", n-from, after)
		}
	}
}

// A real server takes objects in parts, keeps to their hashes, and has nothing left of one
// that was given up.
func TestParts(t *testing.T) {
	shared, ctx := newS3(t).run(), t.Context()
	b, err := s3client.Open(bucket.Options{URL: shared.url(), AccessKey: accessKey, SecretKey: secretKey, PartSize: 5 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	large := registrytest.Random(1, 12<<20)
	o := bucket.PutOptions{SHA256: oci.Sum(large).Encoded(), IfAbsent: true, Meta: map[string]string{"size": "7"}}
	if err := b.Put(ctx, "b/large", bytes.NewReader(large), int64(len(large)), o); err != nil {
		t.Fatal(err)
	}
	object, err := b.Get(ctx, "b/large", 0, -1)
	if got, err := content(object, err); err != nil || got != string(large) || object.Meta["size"] != "7" {
		t.Errorf("%d bytes, %+v, %v", len(got), object.Info, err)
	}
	if err := b.Put(ctx, "b/large", bytes.NewReader(large), int64(len(large)), o); !errors.Is(err, bucket.ErrChanged) {
		t.Errorf("it is there: %v", err)
	}
	o.SHA256 = oci.Sum([]byte("other")).Encoded()
	if err := b.Put(ctx, "b/wrong", bytes.NewReader(large), int64(len(large)), o); !errors.Is(err, bucket.ErrRefused) {
		t.Errorf("it is not what it is said to be: %v", err)
	}
	if _, err := b.Head(ctx, "b/wrong"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is there: %v", err)
	}
	if err := b.Tidy(ctx, "b/"); err != nil {
		t.Error(err)
	}
}

// A server that is not there, and one that refuses the keys, are failures, and nothing is
// absent.
func TestFailures(t *testing.T) {
	shared := newS3(t)
	if _, err := shared.open().Head(t.Context(), "a"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no server: %v", err)
	}
	shared.run()
	none, err := s3client.Open(bucket.Options{URL: "http://" + shared.address + "/none", AccessKey: accessKey, SecretKey: secretKey})
	if err != nil {
		t.Fatal(err)
	}
	defer none.Close()
	if _, err := none.Get(t.Context(), "a", 0, -1); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("get from no bucket: %v", err)
	}
	if err := none.Put(t.Context(), "a", bytes.NewReader(nil), 0, noOptions); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("put to no bucket: %v", err)
	}
	b, err := s3client.Open(bucket.Options{URL: shared.url(), AccessKey: accessKey, SecretKey: "wrong"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.Head(t.Context(), "a"); err == nil || errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), secretKey) {
		t.Errorf("wrong keys: %v", err)
	}
	if _, err := b.Get(t.Context(), "a", 0, -1); err == nil || !strings.Contains(err.Error(), "the secret key is wrong") {
		t.Errorf("wrong keys: %v", err)
	}
}
