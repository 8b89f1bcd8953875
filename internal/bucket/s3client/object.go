package s3client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"github.com/pullgate/pullgate/internal/bucket"
)

// Get reads the bytes [offset, offset+length) of an object, to the end if length is
// negative. ctx bounds the reading, too. Of an object that has no such bytes it is
// ErrChanged.
func (b *Client) Get(ctx context.Context, key string, offset, length int64) (bucket.Object, error) {
	in := &s3.GetObjectInput{Bucket: &b.place.Bucket, Key: b.key(key)}
	switch {
	case length >= 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	case offset > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", offset))
	}
	out, err := b.client.GetObject(ctx, in)
	if err != nil {
		return bucket.Object{}, failed("get", key, err)
	}
	o := bucket.Object{ReadCloser: out.Body, Info: bucket.Info{
		Key: key, Size: aws.ToInt64(out.ContentLength), ETag: aws.ToString(out.ETag), ContentType: aws.ToString(out.ContentType),
		Modified: aws.ToTime(out.LastModified), Meta: out.Metadata,
	}}
	if told := aws.ToString(out.ContentRange); told != "" {
		if o.Offset, o.Size, err = parseRange(told); err != nil {
			_ = out.Body.Close()
			return bucket.Object{}, fmt.Errorf("get object %s: %w", key, err)
		}
	}
	return o, nil
}

// parseRange reads a Content-Range: where it begins, and the size of the whole.
func parseRange(s string) (offset, size int64, err error) {
	part, whole, _ := strings.Cut(strings.TrimPrefix(s, "bytes "), "/")
	first, _, _ := strings.Cut(part, "-")
	if offset, err = strconv.ParseInt(first, 10, 64); err == nil {
		size, err = strconv.ParseInt(whole, 10, 64)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("the server tells the range %q", s)
	}
	return offset, size, nil
}

// Head returns what is known of an object.
func (b *Client) Head(ctx context.Context, key string) (bucket.Info, error) {
	out, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.place.Bucket, Key: b.key(key)})
	if err != nil {
		return bucket.Info{}, failed("head", key, err)
	}
	return bucket.Info{
		Key: key, Size: aws.ToInt64(out.ContentLength), ETag: aws.ToString(out.ETag), ContentType: aws.ToString(out.ContentType),
		Modified: aws.ToTime(out.LastModified), Meta: out.Metadata,
	}, nil
}

// Put writes an object of so many bytes: in parts, if it has more than S3 takes at a time.
func (b *Client) Put(ctx context.Context, key string, content io.ReadSeeker, size int64, o bucket.PutOptions) error {
	if part := b.partOf(size); part > 0 {
		return b.putParts(ctx, key, content, size, part, o)
	}
	in := &s3.PutObjectInput{
		Bucket: &b.place.Bucket, Key: b.key(key), Body: content, ContentLength: &size, Metadata: o.Meta,
	}
	if o.ContentType != "" {
		in.ContentType = &o.ContentType
	}
	in.IfNoneMatch, in.IfMatch = conditions(o)
	if _, err := b.client.PutObject(ctx, in, announcing(o.SHA256)); err != nil {
		return failed("put", key, err)
	}
	return nil
}

func conditions(o bucket.PutOptions) (ifNoneMatch, ifMatch *string) {
	if o.IfAbsent {
		ifNoneMatch = aws.String("*")
	}
	if o.IfMatch != "" {
		ifMatch = &o.IfMatch
	}
	return ifNoneMatch, ifMatch
}

// announcing has a request announce a hash that is known, in place of reading the content
// twice; empty = it is not known.
func announcing(hash string) func(*s3.Options) {
	known := middleware.InitializeMiddlewareFunc("KnownPayloadHash",
		func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			return next.HandleInitialize(v4.SetPayloadHash(ctx, hash), in)
		})
	return func(o *s3.Options) {
		if hash != "" {
			o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error { return stack.Initialize.Add(known, middleware.After) })
		}
	}
}

// Delete removes an object. One that is absent is no error.
func (b *Client) Delete(ctx context.Context, key string) error {
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.place.Bucket, Key: b.key(key)})
	if err != nil && !errors.Is(failed("delete", key, err), fs.ErrNotExist) {
		return failed("delete", key, err)
	}
	return nil
}

// List yields the objects whose keys begin with a prefix and sort after the given key, in
// the order of their keys. An error is the last thing that it yields.
func (b *Client) List(ctx context.Context, prefix, after string) iter.Seq2[bucket.Info, error] {
	return func(yield func(bucket.Info, error) bool) {
		in := &s3.ListObjectsV2Input{Bucket: &b.place.Bucket, Prefix: b.key(prefix)}
		if after != "" {
			in.StartAfter = b.key(after)
		}
		for {
			out, err := b.page(ctx, in)
			if err != nil {
				yield(bucket.Info{}, failed("list", prefix, err))
				return
			}
			for _, o := range out.Contents {
				key := strings.TrimPrefix(aws.ToString(o.Key), b.place.Prefix)
				if !yield(bucket.Info{Key: key, Size: aws.ToInt64(o.Size), ETag: aws.ToString(o.ETag), Modified: aws.ToTime(o.LastModified)}, nil) {
					return
				}
			}
			next := aws.ToString(out.NextContinuationToken)
			if !aws.ToBool(out.IsTruncated) || next == "" {
				return
			}
			if next == aws.ToString(in.ContinuationToken) {
				yield(bucket.Info{}, fmt.Errorf("list objects %s: the server does not get on", prefix))
				return
			}
			in.ContinuationToken = &next
		}
	}
}

// pageBudget is how long a server may take for 1,000 objects of a list.
const pageBudget = 30 * time.Second

func (b *Client) page(ctx context.Context, in *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
	ctx, cancel := context.WithTimeout(ctx, pageBudget)
	defer cancel()
	return b.client.ListObjectsV2(ctx, in)
}

func (b *Client) key(key string) *string { return aws.String(b.place.Prefix + key) }
