function shown = matlab_feedback(folder, last, show, timeout)
% MATLAB_FEEDBACK  Show each value of a run once, from the files that rtflow writes.
%
%   matlab_feedback(FOLDER, LAST) reads volume-0001.json, volume-0002.json, ... of FOLDER as they come, up to
%   volume LAST, and prints them. FOLDER is the one that `rtflow subject --out FOLDER` writes on this computer,
%   or RUN_DIR/feedback of a run on this computer; of one run, for each begins with volume 1.
%
%   matlab_feedback(FOLDER, LAST, SHOW) calls SHOW(value) instead; value.volume, value.value, value.kind,
%   value.stale and the rest are the fields of the file. With Psychtoolbox, say:
%
%     window = Screen('OpenWindow', 0, 0);
%     disc = @(r) CenterRectOnPoint([0 0 2*r 2*r], 960, 540);
%     show = @(v) [Screen('FillOval', window, 255, disc(200 + 200 * v.value)); Screen('Flip', window)];
%
%   A volume without a value (it was withheld, or could not be used) has no file. TIMEOUT is how many seconds
%   without a new file end it (30). The result lists the volumes that were shown.
%
%   MATLAB R2016b or newer, or Octave 7 or newer: both have jsondecode.

if nargin < 3 || isempty(show)
  show = @(v) fprintf('volume %d: %s (%s)\n', v.volume, num2str(v.value), v.kind);
end
if nargin < 4
  timeout = 30;
end

shown = [];
done = 0;       % the last volume that was shown: what is older is never shown again
waiting = tic;
while done < last && toc(waiting) < timeout
  numbers = volumes_of(folder);
  next = min(numbers(numbers > done));
  if isempty(next)
    pause(0.005);  % the value is there for some hundred times as long
    continue
  end
  value = jsondecode(fileread(fullfile(folder, sprintf('volume-%04d.json', next))));
  done = next;
  waiting = tic;
  if ~value.stale
    show(value);
    shown(end + 1) = next; %#ok<AGROW>
  end
end
end

function numbers = volumes_of(folder)
% Volumes that have a file, in any order. Files that are being written have another name.
files = dir(fullfile(folder, 'volume-*.json'));
numbers = zeros(1, numel(files));
for i = 1:numel(files)
  numbers(i) = sscanf(files(i).name, 'volume-%d.json');
end
end
