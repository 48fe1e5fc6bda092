/* Collective operations between the processes of one run, in two libraries of their own: libnibble_comm_mpi.so has them
 * over MPI, and is built where MPI is found; libnibble_comm_nccl.so over NCCL, which it loads when it is asked for.
 * libnibble knows nothing of them.
 *
 * Conventions
 *   - Ranks are 0 to size - 1. Every rank calls the same operations in the same order, with sizes that agree.
 *   - An operation starts and returns a request; nibble_comm_wait() completes it. Until then its buffers must stay as
 *     they are: what is sent unchanged, what is received unread. Several requests may be under way; they are waited for
 *     in one order by all ranks.
 *   - Every function returns a nibble_status; on anything but NIBBLE_OK, nibble_comm_last_error() says what was wrong
 *     in one line. Arguments are checked before anything is sent. After NIBBLE_DEVICE_ERROR (the network failed, or a
 *     rank did not come in time) nothing but nibble_comm_abort() may be called.
 *   - Memory is the host's over MPI, the GPU's over NCCL. A buffer of no bytes may be null. One operation over MPI
 *     moves less than 2^31 elements.
 *   - Any thread may call, one at a time.
 *   - Sums are the same on every rank to the bit, and the same again in a run of as many ranks.
 */
#ifndef NIBBLE_COMM_H
#define NIBBLE_COMM_H

#include "nibble.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Version of this ABI; a caller built against another value must not go on. */
#define NIBBLE_COMM_ABI_VERSION 3
NIBBLE_API int32_t nibble_comm_abi_version(void);

/* Text for the last failed call; "" when there was none. Valid until the next call. */
NIBBLE_API const char* nibble_comm_last_error(void);

/* ---- processes over MPI ----------------------------------------------------------------------------------------- */

/* Joins the other processes, once in the life of a process; all others of the run must do so as well. */
NIBBLE_API nibble_status nibble_comm_init(void);

/* Processes of this machine that may run on the very processors that this one may run on, itself among them. */
NIBBLE_API int32_t nibble_comm_sharers(void);

/* ---- processes over NCCL ---------------------------------------------------------------------------------------- */

#define NIBBLE_COMM_ID_BYTES 128

/* Loads NCCL, 2.14 or later: the library that the environment variable NIBBLE_NCCL names, else libnccl.so.2. Writes the
 * id of a new group, which its maker hands to all other ranks by other means. */
NIBBLE_API nibble_status nibble_comm_nccl_id(uint8_t id[NIBBLE_COMM_ID_BYTES]);

/* Joins the group of an id, once in the life of a process; all other ranks must do so as well. Each has a GPU of its
 * own, that of the CUDA context which is current on the calling thread now and in all later calls. Operations are
 * queued on `stream`, a CUstream or null for the default one, behind what it has to do already. */
NIBBLE_API nibble_status nibble_comm_nccl_init(const uint8_t id[NIBBLE_COMM_ID_BYTES], int32_t rank, int32_t size,
                                               void* stream);

/* ---- processes --------------------------------------------------------------------------------------------------- */

/* Leaves the others, when all have come to this. */
NIBBLE_API nibble_status nibble_comm_finalize(void);

/* Over MPI: ends this process and all others of the run, with `code` as what their launcher returns. Over NCCL: ends
 * what this process's GPU has under way, whereupon the others' operations fail. */
NIBBLE_API void nibble_comm_abort(int32_t code);

NIBBLE_API int32_t nibble_comm_rank(void);
NIBBLE_API int32_t nibble_comm_size(void);

/* How long a wait may take, more than 0; 1,800 seconds at first. A wait that takes longer fails; over MPI its
 * text names the ranks that have not come to the operation. */
NIBBLE_API nibble_status nibble_comm_set_timeout(double seconds);

/* ---- operations ------------------------------------------------------------------------------------------------- */

typedef struct nibble_comm_request nibble_comm_request;

/* data[bytes] of rank `root` -> data[bytes] of every rank. */
NIBBLE_API nibble_status nibble_comm_broadcast(void* data, int64_t bytes, int32_t root, nibble_comm_request** request);

/* data[count] := the sum of all ranks' data[count], for NIBBLE_F32 and NIBBLE_BF16; over MPI the ranks' in their order,
 * in float32, and rounded once at the end (an operation of MPI's own on bfloat16 would round after every rank). Over
 * NCCL float32 only. */
NIBBLE_API nibble_status nibble_comm_all_reduce(nibble_dtype dtype, void* data, int64_t count,
                                                nibble_comm_request** request);

/* values[counts[0] + ... + counts[size - 1]] -> share[counts[rank]], in float32: rank r has the r-th part of all ranks'
 * values, NIBBLE_F32 or NIBBLE_BF16, added to what is in its share; over MPI one rank's after the other's, in their
 * order. Over NCCL float32 only, and the sum replaces what is in the share. */
NIBBLE_API nibble_status nibble_comm_reduce_scatter(nibble_dtype dtype, const void* values, const int64_t* counts,
                                                    float* share, nibble_comm_request** request);

/* share[bytes[rank]] -> all[bytes[0] + ... + bytes[size - 1]]: the shares of all ranks, in their order. The two buffers
 * must not overlap. */
NIBBLE_API nibble_status nibble_comm_all_gather(const void* share, const int64_t* bytes, void* all,
                                                nibble_comm_request** request);

/* Completes when every rank has started it. */
NIBBLE_API nibble_status nibble_comm_barrier(nibble_comm_request** request);

/* Completes an operation and releases its request, which is gone also when this fails. */
NIBBLE_API nibble_status nibble_comm_wait(nibble_comm_request* request);

#ifdef __cplusplus
}
#endif

#endif
