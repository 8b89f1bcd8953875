package s3client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/pullgate/pullgate/internal/bucket"
)

const (
	// maxPut is the most that S3 takes in one request, and maxParts how many parts an
	// object may have. Parts have partSize, unless that made too many.
	maxPut   = 5 << 30
	maxParts = 10_000
	partSize = 64 << 20
	// partTries is how often one part is tried: all others would have to be sent again.
	partTries = 3
	// abortBudget is how long it may take to give an upload up. What is left then is
	// nobody's after leftAfter: no upload takes so long.
	abortBudget = time.Second
	leftAfter   = 7 * 24 * time.Hour
)

// partOf returns the size of the parts that an object of so many bytes is written in; 0 =
// it is written in one request.
func (b *Client) partOf(size int64) int64 {
	most, part := int64(maxPut), int64(partSize)
	if b.part > 0 {
		most, part = b.part, b.part
	}
	if size <= most {
		return 0
	}
	return max(part, (size+maxParts-1)/maxParts)
}

// upload is an object that is written in parts, one after the other.
type upload struct {
	*Client

	key     string
	id      *string
	content source
	size    int64
	whole   hash.Hash
	parts   []types.CompletedPart
}

// putParts writes an object in parts. Nothing of it is seen before the whole has the hash
// that it was announced with.
func (b *Client) putParts(ctx context.Context, key string, content io.ReadSeeker, size, part int64, o bucket.PutOptions) (err error) {
	defer func() {
		if err != nil {
			err = failed("put", key, err)
		}
	}()
	in := &s3.CreateMultipartUploadInput{Bucket: &b.place.Bucket, Key: b.key(key), Metadata: o.Meta}
	if o.ContentType != "" {
		in.ContentType = &o.ContentType
	}
	created, err := b.client.CreateMultipartUpload(ctx, in)
	if err != nil {
		return err
	}
	u := &upload{Client: b, key: key, id: created.UploadId, content: source{content: content, at: -1}, size: size, whole: sha256.New()}
	if err = u.send(ctx, part); err == nil {
		err = u.complete(ctx, o)
	}
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortBudget)
		defer cancel()
		_ = b.abort(ctx, b.key(key), u.id) // else Tidy does
		return err
	}
	return u.check(ctx)
}

// send sends all parts.
func (u *upload) send(ctx context.Context, part int64) error {
	for offset := int64(0); offset < u.size; offset += part {
		length := min(part, u.size-offset)
		sum := sha256.New()
		n, err := io.Copy(io.MultiWriter(sum, u.whole), io.NewSectionReader(&u.content, offset, length))
		if err == nil && n < length {
			err = io.ErrUnexpectedEOF
		}
		for try := 1; err == nil; try++ {
			refusal := u.put(ctx, offset, length, hex.EncodeToString(sum.Sum(nil)))
			if refusal == nil {
				break
			}
			if try == partTries || ctx.Err() != nil {
				err = refusal
			}
		}
		if err != nil {
			return fmt.Errorf("part %d: %w", len(u.parts)+1, err)
		}
	}
	return nil
}

func (u *upload) put(ctx context.Context, offset, length int64, sum string) error {
	number := aws.Int32(int32(len(u.parts)) + 1)
	out, err := u.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &u.place.Bucket, Key: u.Client.key(u.key), UploadId: u.id, PartNumber: number,
		Body: io.NewSectionReader(&u.content, offset, length), ContentLength: &length,
	}, announcing(sum))
	if err == nil {
		u.parts = append(u.parts, types.CompletedPart{ETag: out.ETag, PartNumber: number})
	}
	return err
}

var errOtherContent = errors.New("the content does not have its hash")

// complete has the server put the parts together.
func (u *upload) complete(ctx context.Context, o bucket.PutOptions) error {
	if o.SHA256 != "" && hex.EncodeToString(u.whole.Sum(nil)) != o.SHA256 {
		return fmt.Errorf("%w: %w", bucket.ErrRefused, errOtherContent)
	}
	in := &s3.CompleteMultipartUploadInput{
		Bucket: &u.place.Bucket, Key: u.Client.key(u.key), UploadId: u.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
	}
	in.IfNoneMatch, in.IfMatch = conditions(o)
	_, err := u.client.CompleteMultipartUpload(ctx, in)
	return err
}

// check looks at what the server has put together.
func (u *upload) check(ctx context.Context) error {
	out, err := u.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &u.place.Bucket, Key: u.Client.key(u.key)})
	switch {
	case err != nil:
		return fmt.Errorf("look at the whole: %w", err)
	case aws.ToInt64(out.ContentLength) != u.size:
		return fmt.Errorf("the server has made %d bytes of %d", aws.ToInt64(out.ContentLength), u.size)
	}
	return nil
}

func (b *Client) abort(ctx context.Context, key, id *string) error {
	_, err := b.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &b.place.Bucket, Key: key, UploadId: id})
	return err
}

// Tidy gives up uploads in parts that nobody goes on with, such as of a gateway that was
// killed: their parts take space, and no list of objects shows them. It looks at 1,000 of
// those whose keys begin with a prefix.
func (b *Client) Tidy(ctx context.Context, prefix string) error {
	out, err := b.client.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &b.place.Bucket, Prefix: b.key(prefix)})
	if err != nil {
		return failed("list uploads of", prefix, err)
	}
	for _, u := range out.Uploads {
		key, ours := strings.CutPrefix(aws.ToString(u.Key), b.place.Prefix)
		if !ours || !strings.HasPrefix(key, prefix) || time.Since(aws.ToTime(u.Initiated)) < leftAfter {
			continue
		}
		if err := b.abort(ctx, u.Key, u.UploadId); err != nil {
			return failed("give up upload of", key, err)
		}
	}
	return nil
}

// source is content that is read in parts. A request may read on for a moment after it has
// ended, beside the next one.
type source struct {
	mu      sync.Mutex
	content io.ReadSeeker
	at      int64 // where it stands; -1 = anywhere
}

// ReadAt implements io.ReaderAt for an io.SectionReader, which goes on after fewer bytes.
func (s *source) ReadAt(p []byte, off int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at != off {
		s.at = -1
		if _, err := s.content.Seek(off, io.SeekStart); err != nil {
			return 0, err
		}
	}
	n, err := s.content.Read(p)
	s.at = off + int64(n)
	return n, err
}
