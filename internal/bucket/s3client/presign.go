package s3client

import (
	"context"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pullgate/pullgate/internal/bucket"
)

// Presign implements bucket.Bucket. The URL is for a GET, of the whole or a part.
func (b *Client) Presign(ctx context.Context, key, endpoint string, lasting time.Duration) (string, error) {
	signed, err := s3.NewPresignClient(b.client).PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &b.place.Bucket, Key: b.key(key)},
		s3.WithPresignExpires(lasting), s3.WithPresignClientFromClientOptions(at(endpoint)))
	if err != nil {
		return "", failed("presign", key, err)
	}
	return signed.URL, nil
}

// at has an option of a client be another endpoint, unless that is empty.
func at(endpoint string) func(*s3.Options) {
	return func(o *s3.Options) {
		if endpoint = strings.TrimSuffix(endpoint, "/"); endpoint != "" {
			o.BaseEndpoint = &endpoint
		}
	}
}

var _ bucket.Bucket = (*Client)(nil)
