using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Nibble.Serving.Chat;
using Nibble.Serving.Jobs;
using Nibble.Serving.Store;

namespace Nibble.Serving.OpenAi;

/// <summary>The requests of OpenAI's API for files, fine-tuning, models and chats, so that its clients work with another base URL.</summary>
internal static class OpenAiRoutes
{
    public static void MapOpenAi(this IEndpointRouteBuilder routes)
    {
        RouteGroupBuilder group = routes.MapGroup("/v1").AddEndpointFilter(async (context, next) =>
        {
            try
            {
                return await next(context).ConfigureAwait(false);
            }
            catch (RefusedException exception)
            {
                return ErrorBody.Result(exception);
            }
            catch (ChatException exception)
            {
                return ErrorBody.Result(RefusedException.Of(exception));
            }
            catch (FieldException exception)
            {
                return ErrorBody.Result(new RefusedException(StatusCodes.Status400BadRequest, exception.Message, exception.Name));
            }
            catch (BadHttpRequestException exception)
            {
                return ErrorBody.Result(new RefusedException(exception.StatusCode, exception.Message));
            }
            catch (Exception exception) when (JobStore.IsUnreachable(exception))
            {
                return ErrorBody.Result(new RefusedException(StatusCodes.Status503ServiceUnavailable, "The database does not answer at the moment; the request can be sent again."));
            }
        });
        group.WithMetadata(new ErrorBody.Shape());
        foreach (int status in new[] { StatusCodes.Status400BadRequest, StatusCodes.Status404NotFound })
        {
            group.WithMetadata(new ProducesResponseTypeMetadata(status, typeof(ErrorBody), ["application/json"]));
        }

        group.MapFiles();
        group.MapFineTuning();
        group.MapModels();
        group.MapChat();
    }
}
