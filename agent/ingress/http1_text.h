// HTTP/1.1 (RFC 9112) as text, for both sides.
#pragma once

#include <string_view>

#include "ingress/message.h"
#include "net/channel.h"

namespace sluice::ingress {

// "HTTP/1.1 200 OK" CRLF
void write_status(net::Channel& channel, unsigned status);
void write_field(net::Channel& channel, std::string_view name, std::string_view value);
void write_fields(net::Channel& channel, const Fields& fields);
// One chunk, which is not empty.
void write_chunk(net::Channel& channel, ByteSpan content);

// Takes what parse_request_head() made of `bytes`, and the bytes themselves, into `request`.
void read_request(const wire::RequestHead& head, ByteSpan bytes, Request& request);
// The field lines of a head that was parsed.
std::string_view field_lines(ByteSpan head);

}  // namespace sluice::ingress
