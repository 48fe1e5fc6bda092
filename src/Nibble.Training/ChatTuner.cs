using Nibble.Data;
using Nibble.Training.Configuration;
using Nibble.Training.Prompts;

namespace Nibble.Training;

/// <summary>
/// Tunes a model on conversations of one or more turns, of which the assistant's are learned. They are told apart by the template's
/// <c>{% generation %}</c> marks, or where it has none by rendering the conversation up to each of them; a run whose template
/// allows neither is refused before it begins.
/// </summary>
/// <param name="model">The base model's folder.</param>
/// <param name="config">Null for the defaults, with the model's own chat template.</param>
/// <param name="training">Loop and optimizer; null for the defaults.</param>
public sealed class ChatTuner(string model, TuningConfig? config = null, TrainingSection? training = null) : Trainer(model, training)
{
    /// <inheritdoc/>
    /// <exception cref="InvalidDataException">A file holds records of another form.</exception>
    protected override RunConfig Configure(RunConfig run)
    {
        ArgumentNullException.ThrowIfNull(run);
        RequireForm(run.Data, [DatasetFormat.Chat, DatasetFormat.Sharegpt], $"{nameof(ChatTuner)} takes conversations, {nameof(InstructionTuner)} instructions");
        return (config ?? new TuningConfig()).Apply(run, PromptStyle.Auto);
    }
}
