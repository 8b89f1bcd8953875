package s3client

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/pullgate/pullgate/internal/bucket"
)

// meanings say what to do about an error code of S3 (Amazon S3 API Reference, "Error
// responses").
var meanings = map[string]string{
	"AccessDenied":                 "the keys may not do that, or may not list objects and this one is absent",
	"AuthorizationHeaderMalformed": "it wants another region",
	"InvalidAccessKeyId":           "it does not know the access key",
	"PermanentRedirect":            "the bucket is at another address, or in another region",
	"RequestTimeTooSkewed":         "the clock of this machine and its own differ",
	"SignatureDoesNotMatch":        "the secret key is wrong, or the region",
}

// refusals are the error codes that are due to the object.
var refusals = []string{"BadDigest", "EntityTooLarge", "InvalidDigest", "KeyTooLongError", "XAmzContentSHA256Mismatch"}

// failed tells what a server has refused, and what it has not.
func failed(operation, key string, err error) error {
	if answer, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && answer.HTTPStatusCode() >= http.StatusMultipleChoices {
		err = refused(operation, answer.HTTPStatusCode(), err)
	}
	return fmt.Errorf("%s object %s: %w", operation, key, err)
}

func refused(operation string, status int, err error) error {
	var code, message string
	if told, ok := errors.AsType[smithy.APIError](err); ok {
		code, message = told.ErrorCode(), told.ErrorMessage()
	}
	absent := status == http.StatusNotFound
	switch {
	case code == "NoSuchBucket", absent && operation == "put" && code != "NoSuchUpload":
		return bucket.ErrNoBucket
	case absent && operation != "put":
		return fs.ErrNotExist
	case status == http.StatusPreconditionFailed, status == http.StatusConflict, status == http.StatusRequestedRangeNotSatisfiable:
		return bucket.ErrChanged
	case slices.Contains(refusals, code):
		return fmt.Errorf("%w: %s", bucket.ErrRefused, code)
	}
	if meaning := meanings[code]; meaning != "" {
		message = meaning
	}
	return &bucket.StatusError{Status: status, Code: code, Message: message}
}
