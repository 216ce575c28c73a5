// Package challenge calls the challenge service's internal API: the generated clients, with a token,
// a deadline, retries and typed errors.
package challenge

import (
	"context"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	challengev1 "challenge-service/clients/go/challenge/v1"
)

const (
	firstWait   = 100 * time.Millisecond
	longestWait = 2 * time.Second
)

// Error is why a call failed. Decide on Code and Recoverable; Message is safe to show to the payer.
type Error struct {
	Code        challengev1.Error_Code
	Message     string
	Recoverable bool
	// RequestID is what logs know the call by; empty where nobody answered.
	RequestID string
	// RetryAfter is how long to wait before trying again; 0 where that is not said.
	RetryAfter time.Duration
	// Fields holds what is wrong with each field of a malformed request.
	Fields map[string]string
	// Required is the challenge that the payer must satisfy first, if there is one.
	Required *challengev1.Challenge
	// AttemptsRemaining counts the answers that may still be tried; -1 where that is not said.
	AttemptsRemaining int
	// Reason tells errors of one code apart, such as CODE_EXPIRED; empty where it is not said.
	Reason string
	// Because is why a challenge is required, such as other_payment; empty for other errors.
	Because string
	status  *status.Status
}

// Error names the status, the code and the message.
func (e *Error) Error() string {
	return e.status.Code().String() + ", " + e.Code.String() + ": " + e.Message
}

// GRPCStatus is what status.Code and status.FromError read.
func (e *Error) GRPCStatus() *status.Status { return e.status }

// TokenSource mints a token. It is asked for the first call, and again when the service refuses the
// one that it has: tokens expire, and keys change.
type TokenSource func(context.Context) (string, error)

// WithChallenge makes a connection's calls carry a token and end by a deadline: deadline, where the
// caller's context has none. A call is repeated, with the same deadline, where that helps and is safe:
// when the service is unavailable, if the rpc is idempotent or the request has a request_id; when a
// quota is spent, if the service says for how long. Errors are of type *Error.
func WithChallenge(token TokenSource, deadline time.Duration) grpc.DialOption {
	c := &caller{mint: token, deadline: deadline, after: time.After}
	return grpc.WithChainUnaryInterceptor(c.call)
}

type caller struct {
	mint     TokenSource
	deadline time.Duration
	after    func(time.Duration) <-chan time.Time
	mutex    sync.Mutex
	token    string
}

func (c *caller) call(ctx context.Context, method string, request, reply any,
	conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.deadline)
		defer cancel()
	}
	safe := repeatable(method, request)
	refused, wait := "", firstWait
	for {
		token, err := c.current(ctx, refused)
		if err != nil {
			return err
		}
		authorized := metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
		failure := read(invoke(authorized, method, request, reply, conn, options...))
		if failure == nil {
			return nil
		}
		if failure.status.Code() == codes.Unauthenticated && refused == "" {
			refused = token
			continue
		}
		pause := failure.pause(safe, wait)
		if end, _ := ctx.Deadline(); pause == 0 || time.Until(end) <= pause {
			return failure
		}
		wait = min(2*wait, longestWait)
		select {
		case <-c.after(pause):
		case <-ctx.Done():
			return failure
		}
	}
}

// pause is how long to wait before a repeat; 0 if that helps nothing or is not safe.
func (e *Error) pause(safe bool, wait time.Duration) time.Duration {
	switch {
	case e.status.Code() == codes.ResourceExhausted: // nothing was carried out
		return e.RetryAfter
	case e.status.Code() == codes.Unavailable && safe && e.RetryAfter > 0:
		return e.RetryAfter
	case e.status.Code() == codes.Unavailable && safe:
		return wait/2 + rand.N(wait/2)
	}
	return 0
}

// current returns the token; a new one where there is none but the one that was refused.
func (c *caller) current(ctx context.Context, refused string) (string, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.token == refused {
		token, err := c.mint(ctx)
		if err != nil {
			return "", err
		}
		c.token = token
	}
	return c.token, nil
}

// repeatable tells whether a call may be sent again although it may have been carried out.
func repeatable(method string, request any) bool {
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", "."))
	if found, err := protoregistry.GlobalFiles.FindDescriptorByName(name); err == nil {
		options, ok := found.Options().(*descriptorpb.MethodOptions)
		if ok && options.GetIdempotencyLevel() != descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN {
			return true
		}
	}
	named, ok := request.(interface{ GetRequestId() string })
	return ok && named.GetRequestId() != ""
}

// read finds what the service says in the details of a status.
func read(err error) *Error {
	if err == nil {
		return nil
	}
	failure := &Error{
		Code:              challengev1.Error_network_error,
		Message:           "The service cannot be reached.",
		Recoverable:       true,
		AttemptsRemaining: -1,
		status:            status.Convert(err),
	}
	for _, detail := range failure.status.Details() {
		switch said := detail.(type) {
		case *challengev1.Error:
			failure.Code, failure.Message = said.GetCode(), said.GetMessage()
			failure.Recoverable, failure.RequestID = said.GetRecoverable(), said.GetRequestId()
		case *challengev1.Challenge:
			failure.Required = said
		case *errdetails.RetryInfo:
			failure.RetryAfter = said.GetRetryDelay().AsDuration()
		case *errdetails.BadRequest:
			failure.Fields = make(map[string]string)
			for _, violation := range said.GetFieldViolations() {
				failure.Fields[violation.GetField()] = violation.GetDescription()
			}
		case *errdetails.ErrorInfo:
			failure.AttemptsRemaining = attempts(said)
			failure.Reason, failure.Because = said.GetReason(), said.GetMetadata()["because"]
		}
	}
	return failure
}

func attempts(info *errdetails.ErrorInfo) int {
	left, err := strconv.Atoi(info.GetMetadata()["attempts_remaining"])
	if err != nil {
		return -1
	}
	return left
}
